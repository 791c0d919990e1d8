/** Which models llama.cpp can run. */
import * as E from 'fp-ts/lib/Either.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { expectedTensors } from '../architectures.js';
import type { ModelConfig } from '../config.js';
import type { Gpt2Config } from '../gpt2.js';
import type { Weights } from '../layer.js';
import type { LlamaConfig } from '../llama.js';
import type { PhiConfig } from '../phi.js';
import { headSpec } from '../weights.js';
import { gpt2Layout } from './gpt2.js';
import type { GgufLayout } from './layout.js';
import { llamaLayout } from './llamaLike.js';
import { phiLayout } from './phi.js';

// Only an architecture's own codec writes its name into a configuration.
const isLlama = (config: ModelConfig): config is LlamaConfig =>
  config.architecture === 'llama' || config.architecture === 'gemma';
const isGpt2 = (config: ModelConfig): config is Gpt2Config => config.architecture === 'gpt2';
const isPhi = (config: ModelConfig): config is PhiConfig => config.architecture === 'phi';

/** Model types that can be written as GGUF. */
export const ggufModelTypes: ReadonlyArray<string> = ['llama', 'mistral', 'qwen2', 'qwen3', 'gemma', 'gpt2', 'phi'];

/** The model in llama.cpp's terms. `E_GGUF_UNSUPPORTED` for an architecture or a setting that it does not run. */
export const ggufLayout = (config: ModelConfig, weights: Weights): E.Either<FatalError, GgufLayout> => {
  const specs = expectedTensors(config);
  // Training may have parted a tied head from the embedding.
  const parted = 'lm_head.weight' in weights && !specs.some(({ name }) => name === 'lm_head.weight');
  const { vocabSize, embeddingSize, hiddenSize } = config;
  const all = parted ? [...specs, ...headSpec(false, vocabSize, embeddingSize ?? hiddenSize)] : specs;
  if (isLlama(config)) return llamaLayout(config, all);
  if (isGpt2(config)) return gpt2Layout(config, all);
  if (isPhi(config)) return phiLayout(config, all);
  return E.left(
    fatal('E_GGUF_UNSUPPORTED', `models of type "${config.modelType}" are not written as GGUF`, {
      field: 'model_type',
      expected: `one of ${ggufModelTypes.join(', ')}`,
      actual: config.modelType,
    }),
  );
};
