/** Mixers of Mamba-2 in GGUF. */
import type { FatalError } from '../../errors.js';
import { uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { Mamba2Shape } from '../recurrent/mamba2.js';
import { decaying, inTurn, shaped, squeezed, unsupported } from './layout.js';
import type { Arrangement } from './layout.js';

/** Names of a mixer's tensors, of the module that it is in a layer. */
export const mixerNames = (module: string): Readonly<Record<string, string>> => ({
  [`${module}.in_proj`]: 'ssm_in',
  [`${module}.conv1d`]: 'ssm_conv1d',
  [`${module}.A_log`]: 'ssm_a',
  [`${module}.D`]: 'ssm_d',
  [`${module}.dt`]: 'ssm_dt',
  [`${module}.norm`]: 'ssm_norm',
  [`${module}.out_proj`]: 'ssm_out',
});

/** Those that bear no name of what they are of a module. */
export const mixerAlias = (name: string): string =>
  name.replace(/\.(A_log|D)$/, '.$1.alone').replace(/\.dt_bias$/, '.dt.bias');

export const mixerArrangement = ({ heads, headDim, groups }: Mamba2Shape, name: string): Arrangement | undefined => {
  switch (name.replace(/^blk\.\d+\./, '')) {
    case 'ssm_conv1d.weight':
      return squeezed;
    case 'ssm_a':
      return inTurn(decaying, shaped([heads, 1]));
    case 'ssm_d':
      return shaped([heads, 1]);
    case 'ssm_norm.weight':
      return shaped([groups, (heads * headDim) / groups]);
    default:
      return undefined;
  }
};

export const mixerMetadata = (name: string, { heads, headDim, groups, stateDim, taps }: Mamba2Shape): GgufMetadata => ({
  [`${name}.ssm.conv_kernel`]: uint32(taps),
  [`${name}.ssm.state_size`]: uint32(stateDim),
  [`${name}.ssm.group_count`]: uint32(groups),
  [`${name}.ssm.time_step_rank`]: uint32(heads),
  [`${name}.ssm.inner_size`]: uint32(heads * headDim),
});

/** What config.json calls a mixer's settings. */
interface Fields {
  readonly convBias: string;
  readonly bias: string;
  readonly groups: string;
}

const usualFields: Fields = { convBias: 'mamba_conv_bias', bias: 'mamba_proj_bias', groups: 'mamba_n_groups' };

/** There rates have no bounds, and norms are of one group each, behind the gate. */
export const mixerRefusal = (shape: Mamba2Shape, fields: Fields = usualFields): FatalError | undefined => {
  const { groups, norm, convBias, projectionBias, outputBias, least, most } = shape;
  if (!convBias) return unsupported(fields.convBias, 'true', convBias);
  if (projectionBias || outputBias) return unsupported(fields.bias, 'false', true);
  if (least !== 0 || most !== Infinity) return unsupported('time_step_limit', '[0, Infinity]', [least, most]);
  if (norm === undefined) return undefined;
  if (norm.groups !== groups) return unsupported(fields.groups, String(norm.groups), groups);
  return norm.beforeGate ? unsupported('mamba_norm_before_gate', 'false', norm.beforeGate) : undefined;
};

/** There x is twice as wide as the model. */
export const widthRefusal = ({ heads, headDim, hiddenSize }: Mamba2Shape): FatalError | undefined =>
  heads * headDim === 2 * hiddenSize ? undefined : unsupported('mamba_expand', '2', (heads * headDim) / hiddenSize);
