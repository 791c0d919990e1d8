/** Youtu-LLM: Llama with latent attention. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { Architecture } from '../architecture.js';
import { latentTargets } from '../attention/latentAttention.js';
import { onlyAs } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import { latentConfig, withLatents } from './latent.js';
import type { LatentConfig } from './latent.js';
import { llama, llamaConfig, llamaStem, llamaTensors } from './llama.js';
import { latentLayer } from './minicpm3.js';

export const youtu: Architecture<LatentConfig> = {
  ...llama,
  name: 'youtu',
  modelTypes: ['youtu'],
  config: (raw, modelType) =>
    latentConfig(raw, { queryRank: 1536, kvRank: 512, nopeDim: 128, ropeDim: 64, valueDim: 128 }, (own) =>
      pipe(
        onlyAs({ mlp_bias: false })(own),
        E.flatMap(() => llamaConfig(own, modelType, { maxPositions: 131_072, tied: true })),
        E.map((config) => ({ ...config, architecture: 'youtu' })),
      ),
    ),
  tensors: (config) => withLatents(config, llamaTensors(config)),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) => latentLayer(config, pass, angles, i)),
  loraTargets: latentTargets,
};
