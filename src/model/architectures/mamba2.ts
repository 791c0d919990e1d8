/** Mamba-2, the model: nothing but its mixers. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import {
  boolean,
  decodeFields,
  decoderConfig,
  decoderFields,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  unfit,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import { mamba2 as mixer, mamba2Spec } from '../recurrent/mamba2.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { bounds, rateBounds } from './mambaConfig.js';
import { mixersAlone } from './mixersAlone.js';

export interface Mamba2Config extends ModelConfig {
  readonly rmsNormEps: number;
  readonly mamba: Mamba2Shape;
}

const { num_attention_heads: _heads, max_position_embeddings: _positions, ...ownFields } = decoderFields;

const fields = t.type({
  ...ownFields,
  num_heads: optional(positiveInteger),
  head_dim: optional(positiveInteger),
  state_size: optional(positiveInteger),
  n_groups: optional(positiveInteger),
  expand: optional(positiveInteger),
  conv_kernel: optional(positiveInteger),
  use_bias: optional(boolean),
  use_conv_bias: optional(boolean),
  layer_norm_epsilon: optional(positive),
  time_step_limit: optional(bounds),
});

const config = (raw: RawConfig, modelType: string): E.Either<FatalError, Mamba2Config> =>
  pipe(
    onlyAs({ hidden_act: 'silu' })(raw),
    E.flatMap(decodeFields(fields)),
    E.bindTo('f'),
    E.let('heads', ({ f }) => f.num_heads ?? 128),
    E.let('headDim', ({ f }) => f.head_dim ?? 64),
    E.let('groups', ({ f }) => f.n_groups ?? 8),
    E.let('inner', ({ f }) => f.hidden_size * (f.expand ?? 2)),
    E.filterOrElse(
      ({ heads, headDim, inner }) => heads * headDim === inner,
      ({ heads, inner }) => unfit('num_heads', `heads of head_dim that are ${inner} together`, heads),
    ),
    E.filterOrElse(
      ({ heads, groups }) => heads % groups === 0,
      ({ heads, groups }) => unfit('n_groups', `a divisor of num_heads ${heads}`, groups),
    ),
    E.map(({ f, heads, headDim, groups }) => {
      const eps = f.layer_norm_epsilon ?? 1e-5;
      const bias = f.use_bias ?? false;
      return {
        architecture: 'mamba2',
        modelType,
        ...decoderConfig(f, false),
        numHeads: heads,
        numKvHeads: heads,
        headDim,
        maxPositions: Infinity,
        raw,
        rmsNormEps: eps,
        mamba: {
          hiddenSize: f.hidden_size,
          heads,
          headDim,
          groups,
          stateDim: f.state_size ?? 128,
          taps: f.conv_kernel ?? 4,
          convBias: f.use_conv_bias ?? true,
          projectionBias: bias,
          outputBias: bias,
          norm: { eps, groups: 1, beforeGate: false },
          ...rateBounds(f.time_step_limit),
        },
      };
    }),
  );

export const mamba2 = mixersAlone<Mamba2Config>({
  name: 'mamba2',
  config,
  spec: (module, { mamba }) => mamba2Spec(module, mamba),
  mixer: (pass, module, { mamba }, narrows) => mixer(pass, module, mamba, narrows),
  loraTargets: ['in_proj'],
});
