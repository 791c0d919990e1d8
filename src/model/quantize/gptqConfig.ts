/** What config.json (and quantize_config.json) says of GPTQ weights. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { describe } from '../../formats/describe.js';
import type { GptqOptions } from './gptq.js';

/** `gptq`: zeros are stored less 1; `gptq_v2`: as they are. */
export type GptqFormat = 'gptq' | 'gptq_v2';

/** The `quantization_config` of a GPTQ checkpoint. */
export interface GptqConfig extends GptqOptions {
  readonly format: GptqFormat;
}

/** `quantization_config` of config.json; quantize_config.json holds the same. */
export const encodeGptq = ({
  bits,
  groupSize,
  descAct,
  sym,
  dampPercent,
  format,
}: GptqConfig): Readonly<Record<string, unknown>> => ({
  bits,
  checkpoint_format: format,
  damp_percent: dampPercent,
  desc_act: descAct,
  group_size: groupSize,
  lm_head: false,
  quant_method: 'gptq',
  static_groups: false,
  sym,
  true_sequential: false,
});

const isEmpty = (value: unknown): boolean =>
  value === undefined || value === null || (typeof value === 'object' && Object.keys(value).length === 0);

/** The same read, keys that only concern the making passed over. `E_QUANTIZATION` for widths and packings that are not read. */
export const decodeGptq = (fields: Readonly<Record<string, unknown>>): Either<FatalError, GptqConfig> => {
  const {
    bits,
    group_size: groupSize = -1,
    desc_act: descAct = false,
    sym = true,
    damp_percent: dampPercent,
    checkpoint_format: older,
    format = older ?? 'gptq',
    dynamic,
  } = fields;
  const wrong = (field: string, expected: string, actual: unknown): Either<FatalError, never> =>
    E.left(
      fatal('E_QUANTIZATION', `quantization_config: GPTQ weights of this ${field} are not read`, {
        field: `quantization_config.${field}`,
        expected,
        actual: describe(actual),
        hint: 'load the checkpoint it was made from',
      }),
    );
  if (bits !== 4 && bits !== 8) return wrong('bits', '4 or 8', bits);
  if (typeof groupSize !== 'number' || !Number.isSafeInteger(groupSize) || (groupSize !== -1 && groupSize < 1))
    return wrong('group_size', '-1 or a whole number ≥ 1', groupSize);
  if (format !== 'gptq' && format !== 'gptq_v2') return wrong('checkpoint_format', 'gptq or gptq_v2', format);
  if (!isEmpty(dynamic)) return wrong('dynamic', 'one width and group size for all modules', dynamic);
  return E.right({
    bits,
    groupSize,
    descAct: descAct === true,
    sym: sym !== false,
    dampPercent: typeof dampPercent === 'number' ? dampPercent : 0.01,
    format,
  });
};
