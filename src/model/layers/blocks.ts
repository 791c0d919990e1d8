/** How attention and an MLP make a block, and blocks a body: what the architectures have in common. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { rotaryAngles } from '../attention/rope.js';
import type { RotaryAngles } from '../attention/rope.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import type { ModelConfig } from '../config.js';
import type { Pass } from '../pass.js';
import { block } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { dropout } from './dropout.js';
import { positionEmbedding, tokenEmbedding } from './embedding.js';
import { compose, fanOut, holding, mapLayers, residual, total } from './layer.js';
import type { Layer } from './layer.js';
import { neftune } from './neftune.js';
import { layerNorm } from './norm.js';
import { narrowing } from './rows.js';

/** What lies where in layer `i` of so many. */
export interface BlockPlace {
  readonly pass: Pass;
  /** Number of the layer, from 0. */
  readonly i: number;
  /** Of the model. */
  readonly numLayers: number;
}

/** h = x + attention(x), then h + mlp(h); each with its norms. */
export const inTurn = (
  { pass, i, numLayers }: BlockPlace,
  attention: Layer<Tensor, Tensor>,
  mlp: Layer<Tensor, Tensor>,
): Layer<Tensor, Tensor> => compose(residual(attention, narrowing(pass, i, numLayers)), residual(mlp));

/** x + mixer(x), of a mixer that narrows as attention does; its norm is a part of it. */
export const alone = ({ pass, i, numLayers }: BlockPlace, mixer: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
  residual(mixer, narrowing(pass, i, numLayers));

/** The same of a mixer that treats every row by itself. */
export const aloneByRow = ({ pass, i, numLayers }: BlockPlace, mixer: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
  compose(narrowing(pass, i, numLayers), residual(mixer));

/** attention(x) + mlp(x) */
const both = (
  { pass, i, numLayers }: BlockPlace,
  attention: Layer<Tensor, Tensor>,
  mlp: Layer<Tensor, Tensor>,
): Layer<Tensor, Tensor> => compose(fanOut(attention, compose(narrowing(pass, i, numLayers), mlp)), total);

/** What stands around attention and MLP where both read the same. */
export interface SideBySide {
  /** What both read in place of x. Default: x, and they have norms of their own. */
  readonly norm?: Layer<Tensor, Tensor>;
  /** What their sum passes before x is added. Default: nothing. */
  readonly after?: Layer<Tensor, Tensor>;
}

/** x + attention(x) + mlp(x). */
export const sideBySide = (
  place: BlockPlace,
  attention: Layer<Tensor, Tensor>,
  mlp: Layer<Tensor, Tensor>,
  { norm, after }: SideBySide = {},
): Layer<Tensor, Tensor> => {
  const sum = both(place, attention, mlp);
  const read = norm === undefined ? sum : compose(norm, sum);
  const whole = after === undefined ? read : compose(read, after);
  return residual(whole, narrowing(place.pass, place.i, place.numLayers));
};

/** Token embeddings as the layers read them: with noise while training, then dropped out at `rate`. */
export const stem = (
  pass: Pass,
  module: string,
  dropping: { readonly site: string; readonly rate: number } = { site: '', rate: 0 },
): Layer<Sequence, Tensor> =>
  compose(tokenEmbedding(pass, module), neftune(pass), dropout(pass, dropping.site, dropping.rate));

/** The embedding and then the layers, each made of the angles that its queries and keys turn by. */
export const rotaryBody = (
  { rope, numLayers }: Pick<ModelConfig, 'numLayers'> & { readonly rope: RopeConfig },
  pass: Pass,
  embedded: Layer<Sequence, Tensor>,
  layer: (angles: RotaryAngles, i: number) => Layer<Tensor, Tensor>,
): Layer<Sequence, Tensor> =>
  holding(
    (sequence) => rotaryAngles(rope, sequence),
    (angles) =>
      compose(
        embedded,
        mapLayers(numLayers, (i) => block(pass, layer(angles, i))),
      ),
  );

interface GptConfig extends Pick<ModelConfig, 'numLayers'> {
  readonly layerNormEps: number;
  readonly embeddingDropout: number;
}

/** GPT-2's body: learned positions, and layer norms before attention and MLP. */
export const gptBody = (
  config: GptConfig,
  pass: Pass,
  attention: (i: number) => Layer<Tensor, Tensor>,
  mlp: (i: number) => Layer<Tensor, Tensor>,
): Layer<Sequence, Tensor> => {
  const { numLayers, layerNormEps } = config;
  const normed = (i: number, name: string, layer: Layer<Tensor, Tensor>): Layer<Tensor, Tensor> =>
    compose(layerNorm(`transformer.h.${i}.${name}`, layerNormEps), layer);
  return compose(
    fanOut(stem(pass, 'transformer.wte'), positionEmbedding(pass, 'transformer.wpe')),
    total,
    dropout(pass, 'transformer.drop', config.embeddingDropout),
    mapLayers(numLayers, (i) =>
      block(pass, inTurn({ pass, i, numLayers }, normed(i, 'ln_1', attention(i)), normed(i, 'ln_2', mlp(i)))),
    ),
  );
};
