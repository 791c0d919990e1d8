/** dots.llm1: Qwen3's attention and DeepSeek-V3's mixture. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { correctedNames, groupedFamily } from './groupedRouting.js';
import { windowsByType } from './llama.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig } from './mixture.js';

export const dots1 = mixtureArchitecture<MixtureConfig>({
  name: 'dots1',
  modelTypes: ['dots1'],
  names: correctedNames,
  config: (raw, modelType) =>
    pipe(
      groupedFamily(raw, {
        expertSize: 1408,
        usuallyNormalized: false,
        scores: 'sigmoid',
        llama: {
          numKvHeads: 32,
          headNorm: true,
          windows: (f, file) =>
            windowsByType(
              f,
              'sliding_window' in file ? (f.sliding_window ?? 0) : 4096,
              (i) => i >= (f.max_window_layers ?? 62),
            ),
        },
      }),
      E.flatMap((family) => mixtureConfig(raw, modelType, family)),
      E.map((config) => ({ ...config, architecture: 'dots1' })),
    ),
});
