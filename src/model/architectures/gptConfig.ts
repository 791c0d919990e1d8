/** Fields of config.json by the names of GPT-2, which GPT-J has too. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import {
  activation,
  boolean,
  decodeFields,
  headsOf,
  layerCount,
  namedTokenIds,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  rate,
  tokenIds,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';

export interface GptConfig extends ModelConfig {
  readonly innerSize: number;
  readonly activation: ActivationKind;
  readonly layerNormEps: number;
  readonly embeddingDropout: number;
  readonly residualDropout: number;
}

export const gptFields = {
  vocab_size: positiveInteger,
  n_positions: optional(positiveInteger),
  n_embd: positiveInteger,
  n_layer: layerCount,
  n_head: positiveInteger,
  n_inner: optional(positiveInteger),
  activation_function: optional(activation),
  layer_norm_epsilon: optional(positive),
  embd_pdrop: optional(rate),
  resid_pdrop: optional(rate),
  attn_pdrop: optional(rate),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
} as const;

/** What a file means that says nothing. */
interface Otherwise {
  readonly maxPositions: number;
  readonly dropout: number;
  readonly tied: boolean;
}

type GptFields = t.TypeOf<t.TypeC<typeof gptFields>>;

/** The fields as those of a configuration. `E_MODEL_CONFIG` for heads that do not divide the width. */
export const gptConfig = (
  f: GptFields,
  { maxPositions, dropout, tied }: Otherwise,
): E.Either<FatalError, Omit<GptConfig, 'architecture' | 'modelType' | 'raw'>> =>
  E.Functor.map(
    headsOf({
      hiddenSize: f.n_embd,
      numHeads: f.n_head,
      names: { hiddenSize: 'n_embd', numHeads: 'n_head' },
    }),
    (heads) => ({
      vocabSize: f.vocab_size,
      hiddenSize: f.n_embd,
      numLayers: f.n_layer,
      ...heads,
      maxPositions: f.n_positions ?? maxPositions,
      tieWordEmbeddings: f.tie_word_embeddings ?? tied,
      ...namedTokenIds(f),
      innerSize: f.n_inner ?? 4 * f.n_embd,
      activation: f.activation_function ?? 'gelu_new',
      layerNormEps: f.layer_norm_epsilon ?? 1e-5,
      embeddingDropout: f.embd_pdrop ?? dropout,
      residualDropout: f.resid_pdrop ?? dropout,
      attentionDropout: f.attn_pdrop ?? dropout,
    }),
  );

/** GPT-2's own file, and what is read of it besides: the fields, and the configuration that the common ones make. */
export const gpt2Config =
  <F extends GptFields>(fields: t.Decoder<unknown, F>) =>
  (raw: RawConfig) =>
    pipe(
      // There is no encoder to attend to.
      onlyAs({ add_cross_attention: false })(raw),
      E.flatMap(decodeFields(fields)),
      E.bindTo('f'),
      E.bind('gpt', ({ f }) => gptConfig(f, { maxPositions: 1024, dropout: 0.1, tied: true })),
    );
