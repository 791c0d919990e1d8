/** Files that say of each layer whether it has experts (`mlp_layer_types`). */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { decodeFields, layerCount, optional, unfit } from '../config.js';
import type { RawConfig } from '../config.js';

const fields = t.type({
  num_hidden_layers: layerCount,
  mlp_layer_types: optional(t.array(t.keyof({ dense: null, sparse: null }))),
});

/** Which layers have experts; `usually` where the file says nothing. `E_MODEL_CONFIG` of a list that is not one entry a layer. */
export const routedLayers = (
  raw: RawConfig,
  usually: (layer: number) => boolean,
): E.Either<FatalError, (layer: number) => boolean> =>
  pipe(
    decodeFields(fields)(raw),
    E.filterOrElse(
      ({ mlp_layer_types: kinds, num_hidden_layers: layers }) => (kinds?.length ?? layers) === layers,
      ({ mlp_layer_types: kinds, num_hidden_layers: layers }) =>
        unfit('mlp_layer_types', `${layers} entries, one a layer`, kinds),
    ),
    E.map(({ mlp_layer_types: kinds }) => (kinds ? (layer) => kinds[layer] === 'sparse' : usually)),
  );
