/** How a model's base weights are quantised at load: the names and defaults of transformers' BitsAndBytesConfig, camelCased. */
import * as E from 'fp-ts/lib/Either.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { boolean, list, nonEmptyString, nonNegativeNumber, oneOf } from '../../formats/optionCodecs.js';
import { closed, option, optional } from '../../formats/closed.js';
import type { ClosedInput, ClosedValue } from '../../formats/closed.js';
import { decodeGptq, encodeGptq } from './gptqConfig.js';
import type { GptqConfig } from './gptqConfig.js';

/** The options of quantised weights, named as in BitsAndBytesConfig, and their codec. */
export const QuantizationConfig = closed('QuantizationConfig', {
  loadIn8bit: option(boolean, false, 'Hold frozen linear weights in 8 bits (LLM.int8).'),
  loadIn4bit: option(boolean, false, 'Hold frozen linear weights in 4 bits.'),
  llmInt8Threshold: option(
    nonNegativeNumber,
    6,
    'Activations of this magnitude and more keep their column out of 8-bit products; 0: none does.',
  ),
  llmInt8SkipModules: optional(
    list(nonEmptyString),
    'Modules left unquantised, in 4 bits too. The output head and embeddings always are.',
  ),
  bnb4bitQuantType: option(oneOf('fp4', 'nf4'), 'fp4', 'The 16 numbers of 4 bits: fp4, or nf4, which suits weights.'),
  bnb4bitUseDoubleQuant: option(boolean, false, 'Hold the scales of 4-bit blocks in 8 bits.'),
  bnb4bitComputeDtype: option(
    oneOf('float32', 'bfloat16', 'float16'),
    'float32',
    'Written into config.json for other software: products here have the precision of the engine.',
  ),
});
/** The options of quantised weights as decoded: BitsAndBytesConfig's, camelCased, defaults filled in. */
export type QuantizationConfig = ClosedValue<typeof QuantizationConfig>;
/** The options of quantised weights as a caller gives them: all may be left out. */
export type QuantizationOptions = ClosedInput<typeof QuantizationConfig>;

/** How a checkpoint's weights are quantised: by bitsandbytes, or by GPTQ. */
export type StoredQuantization = QuantizationConfig | GptqConfig;

export const isGptq = (config: StoredQuantization): config is GptqConfig => 'bits' in config;

/** Whether anything is quantised; `E_OPTIONS` when 4 and 8 bits are asked for together. */
export const quantizationOf = (config: QuantizationConfig): E.Either<FatalError, QuantizationConfig | undefined> => {
  if (config.loadIn4bit && config.loadIn8bit)
    return E.left(
      usage('E_OPTIONS', 'loadIn4bit and loadIn8bit exclude each other', {
        field: 'loadIn8bit',
        hint: 'choose one',
      }),
    );
  return E.right(config.loadIn4bit || config.loadIn8bit ? config : undefined);
};

/** The `quantization_config` of config.json, as transformers writes it. */
export const encodeQuantization = (config: StoredQuantization): Readonly<Record<string, unknown>> =>
  isGptq(config) ? encodeGptq(config) : encodeBitsAndBytes(config);

const encodeBitsAndBytes = (config: QuantizationConfig): Readonly<Record<string, unknown>> => ({
  _load_in_4bit: config.loadIn4bit,
  _load_in_8bit: config.loadIn8bit,
  bnb_4bit_compute_dtype: config.bnb4bitComputeDtype,
  bnb_4bit_quant_storage: 'uint8',
  bnb_4bit_quant_type: config.bnb4bitQuantType,
  bnb_4bit_use_double_quant: config.bnb4bitUseDoubleQuant,
  llm_int8_enable_fp32_cpu_offload: false,
  llm_int8_has_fp16_weight: false,
  llm_int8_skip_modules: config.llmInt8SkipModules ?? null,
  llm_int8_threshold: config.llmInt8Threshold,
  load_in_4bit: config.loadIn4bit,
  load_in_8bit: config.loadIn8bit,
  quant_method: 'bitsandbytes',
});

const onDisk: Readonly<Record<keyof QuantizationConfig, string>> = {
  loadIn8bit: 'load_in_8bit',
  loadIn4bit: 'load_in_4bit',
  llmInt8Threshold: 'llm_int8_threshold',
  llmInt8SkipModules: 'llm_int8_skip_modules',
  bnb4bitQuantType: 'bnb_4bit_quant_type',
  bnb4bitUseDoubleQuant: 'bnb_4bit_use_double_quant',
  bnb4bitComputeDtype: 'bnb_4bit_compute_dtype',
};

/**
 * The `quantization_config` of a config.json, if bitsandbytes or GPTQ made it; undefined where there is none, or one of MXFP4 or float8.
 * `E_QUANTIZATION` for other methods and for values that are wrong.
 */
export const decodeQuantization = (
  raw: Readonly<Record<string, unknown>>,
): E.Either<FatalError, StoredQuantization | undefined> => {
  const found = raw['quantization_config'];
  if (typeof found !== 'object' || found === null) return E.right(undefined);
  const fields = found as Readonly<Record<string, unknown>>;
  const method = fields['quant_method'] ?? 'bitsandbytes';
  if (method === 'gptq') return decodeGptq(fields);
  // What is stored so is read as numbers: see the file layout of gpt-oss, and float8.ts.
  if (method === 'mxfp4' || method === 'fp8') return E.right(undefined);
  if (method !== 'bitsandbytes')
    return E.left(
      fatal('E_QUANTIZATION', 'the checkpoint is quantised by a method that cannot be read', {
        field: 'quantization_config.quant_method',
        expected: 'bitsandbytes, gptq, mxfp4 or fp8',
        actual: typeof method === 'string' ? method : JSON.stringify(method),
        hint: 'load the checkpoint it was made from',
      }),
    );
  const given = Object.entries(onDisk).flatMap(([name, key]) => {
    const value = fields[key];
    return value === undefined || value === null ? [] : [[name, value] as const];
  });
  return E.mapLeft((error: FatalError) =>
    fatal('E_QUANTIZATION', `quantization_config: ${error.message}`, { field: 'quantization_config', cause: error }),
  )(E.chain(quantizationOf)(QuantizationConfig.decode(Object.fromEntries(given))));
};
