/** Mixers of Mamba in GGUF. */
import type { FatalError } from '../../errors.js';
import { uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { MambaShape } from '../recurrent/mamba.js';
import { decaying, squeezed, unsupported } from './layout.js';
import type { Arrangement } from './layout.js';

/** Names of a mixer's tensors, of the module that it is in a layer. */
export const mambaNames = (module: string): Readonly<Record<string, string>> => ({
  [`${module}.in_proj`]: 'ssm_in',
  [`${module}.conv1d`]: 'ssm_conv1d',
  [`${module}.x_proj`]: 'ssm_x',
  [`${module}.dt_layernorm`]: 'ssm_dt_norm',
  [`${module}.b_layernorm`]: 'ssm_b_norm',
  [`${module}.c_layernorm`]: 'ssm_c_norm',
  [`${module}.dt_proj`]: 'ssm_dt',
  [`${module}.A_log`]: 'ssm_a',
  [`${module}.D`]: 'ssm_d',
  [`${module}.out_proj`]: 'ssm_out',
});

export const mambaArrangement = (name: string): Arrangement | undefined => {
  switch (name.replace(/^blk\.\d+\./, '')) {
    case 'ssm_conv1d.weight':
      return squeezed;
    case 'ssm_a':
      return decaying;
    default:
      return undefined;
  }
};

export const mambaMetadata = (name: string, { inner, stateDim, rank, taps }: MambaShape): GgufMetadata => ({
  [`${name}.ssm.conv_kernel`]: uint32(taps),
  [`${name}.ssm.inner_size`]: uint32(inner),
  [`${name}.ssm.state_size`]: uint32(stateDim),
  [`${name}.ssm.time_step_rank`]: uint32(rank),
});

/** What config.json calls a mixer's settings. */
interface Fields {
  readonly expand: string;
  readonly convBias: string;
  readonly bias: string;
}

/** There channels are twice as many as the model is wide, and the convolution alone has biases. */
export const mambaRefusal = (
  { inner, hiddenSize, convBias, projectionBias }: MambaShape,
  fields: Fields,
): FatalError | undefined => {
  if (inner !== 2 * hiddenSize) return unsupported(fields.expand, '2', inner / hiddenSize);
  if (!convBias) return unsupported(fields.convBias, 'true', convBias);
  return projectionBias ? unsupported(fields.bias, 'false', projectionBias) : undefined;
};
