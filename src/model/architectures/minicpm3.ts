/** MiniCPM3: latent attention without experts, whose embeddings, branches and logits are multiplied by numbers of their own. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { Architecture } from '../architecture.js';
import { latentAttention, latentTargets } from '../attention/latentAttention.js';
import type { RotaryAngles } from '../attention/rope.js';
import { optional, positive, positiveInteger } from '../config.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { compose, identity } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { scaled } from '../layers/scaled.js';
import type { Pass } from '../pass.js';
import { latentConfig, withLatents } from './latent.js';
import type { LatentConfig } from './latent.js';
import { llama, llamaConfigWith, llamaStem, llamaTensors, mlp, norm } from './llama.js';

export interface MiniCpmConfig extends LatentConfig {
  /** Factor of what attention and MLP add. */
  readonly residualMultiplier: number;
  /** What logits are divided by. */
  readonly logitsScaling: number;
}

const fields = t.type({
  scale_emb: optional(positive),
  scale_depth: optional(positive),
  dim_model_base: optional(positiveInteger),
});

/** A block of latent attention and a gated MLP; what both add passes `after`. */
export const latentLayer = (
  config: LatentConfig,
  pass: Pass,
  angles: RotaryAngles,
  i: number,
  after: Layer<Tensor, Tensor> = identity,
): Layer<Tensor, Tensor> => {
  const normed = (name: string): Layer<Tensor, Tensor> => norm(config, `model.layers.${i}.${name}`);
  return inTurn(
    { pass, i, numLayers: config.numLayers },
    compose(normed('input_layernorm'), latentAttention(config, pass, angles, i), after),
    compose(normed('post_attention_layernorm'), mlp(config, pass, i), after),
  );
};

export const minicpm3: Architecture<MiniCpmConfig> = {
  ...llama,
  name: 'minicpm3',
  modelTypes: ['minicpm3'],
  config: (raw, modelType) =>
    latentConfig(raw, { queryRank: 768, kvRank: 256, nopeDim: 64, ropeDim: 32, interleaved: false }, (own) =>
      pipe(
        llamaConfigWith(own, modelType, {
          fields,
          only: { mlp_bias: false },
          family: { maxPositions: 32_768, rmsNormEps: 1e-5, tied: true },
        }),
        E.map(({ f, config }) => {
          const depth = f.scale_depth === null ? Math.sqrt(config.numLayers) : (f.scale_depth ?? 1.4);
          const base = f.dim_model_base === null ? config.hiddenSize : (f.dim_model_base ?? 256);
          return {
            ...config,
            architecture: 'minicpm3',
            embeddingScale: f.scale_emb ?? 12,
            residualMultiplier: depth / Math.sqrt(config.numLayers),
            logitsScaling: config.hiddenSize / base,
          };
        }),
      ),
    ),
  tensors: (config) => withLatents(config, llamaTensors(config)),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      latentLayer(config, pass, angles, i, scaled(config.residualMultiplier)),
    ),
  tail: (config) => compose(norm(config, 'model.norm'), scaled(1 / config.logitsScaling)),
  loraTargets: latentTargets,
};
