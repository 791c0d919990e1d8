/** What the files of GPT-2 and of GPT-BigCode call the parts of a model. */
import type { Architecture } from '../architecture.js';
import { layerNorm } from '../layers/norm.js';
import { embeddingSpec, headSpec, layerNormSpec, perLayer } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import type { GptConfig } from './gptConfig.js';

/** The weights; `matrixSpec` tells how a file holds a matrix and its bias. */
export const gptTensors =
  (matrixSpec: (module: string, inputs: number, outputs: number) => ReadonlyArray<TensorSpec>) =>
  (config: GptConfig): ReadonlyArray<TensorSpec> => {
    const { vocabSize, maxPositions, hiddenSize, innerSize, numLayers, numKvHeads, headDim } = config;
    return [
      embeddingSpec('transformer.wte', vocabSize, hiddenSize),
      embeddingSpec('transformer.wpe', maxPositions, hiddenSize),
      ...perLayer(numLayers, (i) => [
        ...layerNormSpec(`transformer.h.${i}.ln_1`, hiddenSize),
        ...matrixSpec(`transformer.h.${i}.attn.c_attn`, hiddenSize, hiddenSize + 2 * numKvHeads * headDim),
        ...matrixSpec(`transformer.h.${i}.attn.c_proj`, hiddenSize, hiddenSize),
        ...layerNormSpec(`transformer.h.${i}.ln_2`, hiddenSize),
        ...matrixSpec(`transformer.h.${i}.mlp.c_fc`, hiddenSize, innerSize),
        ...matrixSpec(`transformer.h.${i}.mlp.c_proj`, innerSize, hiddenSize),
      ]),
      ...layerNormSpec('transformer.ln_f', hiddenSize),
      ...headSpec(config.tieWordEmbeddings, vocabSize, hiddenSize),
    ];
  };

export const gptNames = {
  basePrefix: 'transformer.',
  buffers: /\.attn\.(?:bias|masked_bias)$/,
  embedding: 'transformer.wte',
  narrows: true,
  tail: (config) => layerNorm('transformer.ln_f', config.layerNormEps),
  loraTargets: () => ['c_attn'],
} satisfies Partial<Architecture<GptConfig>>;
