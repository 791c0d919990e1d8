/** Hunyuan, dense: Llama with norms on each head of queries and keys after they have turned, and a base of angles stretched by `alpha`. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import type { RopeConfig } from '../attention/ropeConfig.js';
import { decodeFields, onlyAs, optional, positive } from '../config.js';
import type { RawConfig } from '../config.js';
import { rotaryBody } from '../layers/blocks.js';
import type { Layer } from '../layers/layer.js';
import { perHead } from '../layers/norm.js';
import type { Pass } from '../pass.js';
import { perLayer, rmsNormSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { llama, llamaConfig, llamaLayer, llamaStem, llamaTensors, norm } from './llama.js';
import type { LlamaConfig, LlamaParts } from './llama.js';

const scaling = optional(t.type({ alpha: optional(positive) }, 'an object'));
const fields = t.type({ rope_scaling: scaling, rope_parameters: scaling });

/** With `alpha` the base is stretched once and for all, whatever the length of a text. */
const stretched = (rope: RopeConfig, alpha: number | null | undefined): RopeConfig =>
  rope.scaling.kind !== 'dynamic' || typeof alpha !== 'number'
    ? rope
    : {
        ...rope,
        theta: rope.theta * alpha ** (rope.rotaryDim / (rope.rotaryDim - 2)),
        scaling: { kind: 'default' },
      };

/** What Hunyuan's `alpha` makes of angles that are read as those of others. */
export const stretchedRope = (raw: RawConfig): E.Either<FatalError, (rope: RopeConfig) => RopeConfig> =>
  pipe(
    decodeFields(fields)(raw),
    E.map((f) => (rope) => stretched(rope, f.rope_scaling?.alpha ?? f.rope_parameters?.alpha)),
  );

/** Norms on each head of queries and keys after they have turned. */
export const hunyuanParts = (config: LlamaConfig, i: number): LlamaParts => {
  const normed = (name: string): Layer<Tensor, Tensor> =>
    perHead(config.headDim, norm(config, `model.layers.${i}.self_attn.${name}`));
  return { turnedQueries: normed('query_layernorm'), turnedKeys: normed('key_layernorm') };
};

export const headNormSpecs = (config: LlamaConfig): ReadonlyArray<TensorSpec> =>
  perLayer(config.numLayers, (i) =>
    ['query_layernorm', 'key_layernorm'].map((name) =>
      rmsNormSpec(`model.layers.${i}.self_attn.${name}`, config.headDim),
    ),
  );

export const hunyuan: Architecture<LlamaConfig> = {
  ...llama,
  name: 'hunyuan_v1_dense',
  modelTypes: ['hunyuan_v1_dense'],
  config: (raw, modelType) =>
    pipe(
      stretchedRope(raw),
      E.bindTo('rope'),
      E.bind('config', () =>
        E.flatMap(() => llamaConfig(raw, modelType, { rmsNormEps: 1e-5 }))(onlyAs({ mlp_bias: false })(raw)),
      ),
      E.map(({ rope, config }) => ({ ...config, architecture: 'hunyuan_v1_dense', rope: rope(config.rope) })),
    ),
  tensors: (config) => [...llamaTensors(config), ...headNormSpecs(config)],
  body: (config, pass: Pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      llamaLayer(config, pass, angles, i, hunyuanParts(config, i)),
    ),
};
