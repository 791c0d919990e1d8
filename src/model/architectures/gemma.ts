/** Gemma: Llama's layout with gains stored less 1, embeddings times √hiddenSize and a tanh gelu in the gate. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import { unfit } from '../config.js';
import type { RawConfig } from '../config.js';
import type { ActivationKind } from '../kernels/activation.js';
import { llama, llamaConfig } from './llama.js';
import type { LlamaConfig } from './llama.js';

/** Files of the first releases say "gelu" and mean its tanh form. */
const gateOf = (raw: RawConfig, given: ActivationKind): ActivationKind =>
  typeof raw['hidden_act'] === 'string' && raw['hidden_act'] !== 'gelu' ? given : 'gelu_new';

/** What all Gemmas do to a configuration as Llama's codec reads it. `E_MODEL_CONFIG` for one that looks ahead. */
export const asGemma = (config: LlamaConfig): E.Either<FatalError, LlamaConfig> =>
  config.raw['use_bidirectional_attention'] === true
    ? E.left(unfit('use_bidirectional_attention', 'false', true))
    : E.right({
        ...config,
        normOffset: 1,
        embeddingScale: Math.fround(Math.sqrt(config.hiddenSize)),
      });

export const gemma: Architecture<LlamaConfig> = {
  ...llama,
  name: 'gemma',
  modelTypes: ['gemma'],
  config: (raw, modelType) =>
    pipe(
      llamaConfig(raw, modelType, { headDim: 256, numKvHeads: 16, maxPositions: 8192, tied: true }),
      E.flatMap(asGemma),
      E.map((config) => ({ ...config, architecture: 'gemma', activation: gateOf(raw, config.activation) })),
    ),
};
