/** Mamba, the models: nothing but its mixers; Falcon Mamba, which norms what rates, B and C are. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import type { Architecture } from '../architecture.js';
import {
  boolean,
  decodeFields,
  decoderConfig,
  decoderFields,
  onlyAs,
  optional,
  positive,
  positiveInteger,
} from '../config.js';
import type { ModelConfig, RawConfig } from '../config.js';
import { mamba as mixer, mambaSpec } from '../recurrent/mamba.js';
import type { MambaShape } from '../recurrent/mamba.js';
import { rankOf, ranks } from './mambaConfig.js';
import { mixersAlone } from './mixersAlone.js';

export interface MambaConfig extends ModelConfig {
  readonly rmsNormEps: number;
  readonly mamba: MambaShape;
}

const { num_attention_heads: _heads, max_position_embeddings: _positions, ...ownFields } = decoderFields;

const fields = t.type({
  ...ownFields,
  state_size: optional(positiveInteger),
  expand: optional(positiveInteger),
  conv_kernel: optional(positiveInteger),
  time_step_rank: optional(ranks),
  use_bias: optional(boolean),
  use_conv_bias: optional(boolean),
  layer_norm_epsilon: optional(positive),
  mixer_rms_eps: optional(positive),
});

const configOf =
  (architecture: string, norms: boolean) =>
  (raw: RawConfig, modelType: string): E.Either<FatalError, MambaConfig> =>
    pipe(
      onlyAs({ hidden_act: 'silu' })(raw),
      E.flatMap(decodeFields(fields)),
      E.map((f) => ({
        architecture,
        modelType,
        ...decoderConfig(f, true),
        numHeads: 1,
        numKvHeads: 1,
        headDim: f.hidden_size,
        maxPositions: Infinity,
        raw,
        rmsNormEps: f.layer_norm_epsilon ?? 1e-5,
        mamba: {
          hiddenSize: f.hidden_size,
          inner: f.hidden_size * (f.expand ?? 2),
          stateDim: f.state_size ?? 16,
          rank: rankOf(f.time_step_rank, f.hidden_size),
          taps: f.conv_kernel ?? 4,
          convBias: f.use_conv_bias ?? true,
          projectionBias: f.use_bias ?? false,
          ...(norms ? { norms: { eps: f.mixer_rms_eps ?? 1e-6, gains: false } } : {}),
        },
      })),
    );

const architecture = (name: string, norms: boolean): Architecture<MambaConfig> =>
  mixersAlone({
    name,
    config: configOf(name, norms),
    spec: (module, { mamba: shape }) => mambaSpec(module, shape),
    mixer: (pass, module, { mamba: shape }, narrows) => mixer(pass, module, shape, narrows),
    loraTargets: ['in_proj', 'x_proj'],
  });

export const mamba = architecture('mamba', false);
export const falconMamba = architecture('falcon_mamba', true);
