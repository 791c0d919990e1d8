/** A trained model quantised by GPTQ on prepared rows, and its directory. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { besideLoaded, checked } from '../../checked.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeInto } from '../../formats/files/directory.js';
import { writeJson } from '../../formats/json/json.js';
import { withNumbersOf } from '../../formats/json/writtenNumbers.js';
import { writeCheckpointTensors } from '../../formats/tensors/shards.js';
import { moduleOf } from '../../model/adapters/moduleNames.js';
import type { CausalLM } from '../../model/model.js';
import type { GptqOptions } from '../../model/quantize/gptq.js';
import { encodeGptq } from '../../model/quantize/gptqConfig.js';
import { gptqTensors } from '../../model/quantize/gptqFiles.js';
import { gptqModel } from '../../model/quantize/gptqModel.js';
import type { GptqLayer, GptqModel } from '../../model/quantize/gptqModel.js';
import { batchRows } from '../../operators/batch.js';
import type { Labelled } from '../../records.js';
import { sequenceOf } from '../step/unpad.js';
import { writeTokenizer } from './save.js';
import type { SaveOptions } from './save.js';
import { toWrite } from './toWrite.js';
import { wholeFault } from './wholeCheckpoint.js';

/** How GPTQ rounds a model, and who hears of it. */
export interface GptqRowsOptions extends GptqOptions {
  /** Called with every module when it is quantised. */
  readonly onLayer?: ((layer: GptqLayer) => void) | undefined;
}

/**
 * The model with its linear weights rounded by GPTQ, calibrated on the rows. Consumes the model. `E_QUANTIZED` for one that is
 * quantised already or a part of a checkpoint that holds more, `E_LORA_PRESENT` for one with an adapter, `E_GPTQ` without rows, or when
 * no weight fits the format.
 */
export const gptqRows = checked(
  'gptqRows',
  E.left,
  {
    2: {
      onLayer: 'optional',
      bits: 'required',
      groupSize: 'required',
      descAct: 'required',
      sym: 'required',
      dampPercent: 'required',
    },
  },
  (
    model: CausalLM,
    rows: ReadonlyArray<Labelled>,
    { onLayer, ...options }: GptqRowsOptions,
  ): Either<FatalError, GptqModel> => {
    if (model.quantized !== undefined) return E.left(usage('E_QUANTIZED', 'the model is quantised already'));
    if (model.lora !== undefined)
      return E.left(usage('E_LORA_PRESENT', 'the model carries an adapter', { hint: 'merge it first' }));
    const fault = wholeFault(model, true);
    if (fault !== undefined) return E.left(fault);
    if (rows.length === 0)
      return E.left(usage('E_GPTQ', 'there are no rows to calibrate on', { expected: 'at least one' }));
    const sequences = rows.map((row) => sequenceOf(batchRows()([row])).sequence);
    const quantized = gptqModel(model, sequences, options, onLayer);
    return quantized.layers.length > 0
      ? E.right(quantized)
      : E.left(
          fatal('E_GPTQ', 'no weight of the model can be packed', {
            expected: `linear maps whose sides are multiples of ${32 / options.bits}`,
          }),
        );
  },
);

/**
 * Writes what AutoGPTQ and transformers load: config.json with `quantization_config`, quantize_config.json, the packed weights, and the
 * tokenizer's files. Resolves to the names of the files written.
 */
export const saveGptq = checked(
  'saveGptq',
  TE.left,
  { 2: { ...besideLoaded, tokenizer: 'optional' } },
  (
    dir: string,
    { model, matrices, options }: GptqModel,
    { tokenizer }: Pick<SaveOptions, 'tokenizer'> = {},
  ): TaskEither<FatalError, ReadonlyArray<string>> =>
    writeInto(dir, (temporary) =>
      pipe(
        writeJson(
          join(temporary, 'config.json'),
          withNumbersOf(model.config.raw, {
            ...model.config.raw,
            torch_dtype: 'float32',
            quantization_config: encodeGptq({ ...options, format: 'gptq' }),
          }),
        ),
        TE.flatMap(() =>
          writeJson(join(temporary, 'quantize_config.json'), encodeGptq({ ...options, format: 'gptq' })),
        ),
        TE.flatMap(() =>
          writeCheckpointTensors(
            temporary,
            Object.entries(model.weights).flatMap(([name, weight]) => {
              const matrix = name.endsWith('.weight') ? matrices.get(moduleOf(name)) : undefined;
              return matrix === undefined
                ? toWrite({ [name]: weight })
                : gptqTensors(moduleOf(name), matrix, () => matrix.codes);
            }),
          ),
        ),
        TE.flatMap(() => writeTokenizer(temporary, tokenizer)),
      ),
    ),
);
