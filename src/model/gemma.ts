/** Gemma: Llama's layout with gains stored less 1, embeddings times √hiddenSize and a tanh gelu in the gate. */
import * as E from 'fp-ts/lib/Either.js';
import type { Architecture } from './architecture.js';
import { llama, llamaConfig } from './llama.js';
import type { LlamaConfig } from './llama.js';

export const gemma: Architecture<LlamaConfig> = {
  ...llama,
  name: 'gemma',
  modelTypes: ['gemma'],
  config: (raw, modelType) =>
    E.Functor.map(
      llamaConfig(raw, modelType, {
        headDim: 256,
        windows: ({ num_hidden_layers: n }) => Array.from({ length: n }, () => 0),
      }),
      (config) => ({
        ...config,
        architecture: 'gemma',
        // The library that trained it never read hidden_act; files that say "gelu" mean the tanh form.
        activation: 'gelu_new' as const,
        normOffset: 1,
        embeddingScale: Math.fround(Math.sqrt(config.hiddenSize)),
        tieWordEmbeddings: raw['tie_word_embeddings'] !== false,
      }),
    ),
};
