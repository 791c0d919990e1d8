/** `rxtune quantize`: a trained model in 4 or 8 bits by GPTQ, with its perplexity before and after. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../errors.js';
import type { FatalError } from '../errors.js';
import {
  boolean,
  closed,
  list,
  nonEmptyString,
  numberThat,
  oneOf,
  option,
  positiveInteger,
  positiveNumber,
  required,
} from '../formats/closed.js';
import { openDataset } from '../formats/dataset.js';
import { requireRows } from '../formats/requireRows.js';
import { makeRejects } from '../streams/rejects.js';
import { evaluateRows } from '../train/evaluate.js';
import { gptqRows, saveGptq } from '../train/gptq.js';
import { loadOptionsOf, loadParts } from '../train/load.js';
import { fewOfEach, maxLengthOf } from '../train/prepare.js';
import { prepareRows } from '../train/prepareRows.js';
import type { CommandLine } from './command.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellLocated, tellRejects, tellWarning } from './tell.js';

const Own = closed('quantize', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  trainDataset: required(list(nonEmptyString), 'Files of calibration rows, prepared as for training.'),
  method: option(oneOf('gptq'), 'gptq', 'How weights are rounded.'),
  bits: option(
    numberThat('4 or 8', (x) => x === 4 || x === 8, 'integer'),
    4,
    'Bits of a weight.',
  ),
  groupSize: option(
    numberThat('-1 or a whole number ≥ 1', (x) => x === -1 || (Number.isSafeInteger(x) && x >= 1), 'integer'),
    128,
    'Inputs that share a scale; -1: all.',
  ),
  descAct: option(boolean, false, 'Round the columns of the largest activations first (act-order).'),
  sym: option(boolean, true, 'Zero in the middle of the range.'),
  dampPercent: option(positiveNumber, 0.01, "Added to the Hessian's diagonal, as a share of its mean."),
  calibrationRows: option(positiveInteger, 128, 'Rows to calibrate on, the first of the dataset.'),
});

export const quantizeCommand: CommandLine = {
  name: 'quantize',
  summary: 'write a model in 4 or 8 bits (GPTQ), and tell its perplexity before and after',
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('outputDir', ({ config: { outputDir } }) =>
        outputDir === undefined
          ? TE.left(fatal('E_OPTIONS', 'there is nowhere to write to', { field: '--output-dir', kind: 'usage' }))
          : TE.right(outputDir),
      ),
      TE.bind('loaded', ({ own, config }) => loadParts(own.model, { ...loadOptionsOf(config), hub: tellingHub(err) })),
      TE.bind('rows', ({ own, config, loaded: { model, tokenizer, warnings, located } }) => {
        tellLocated(err, located);
        warnings.forEach(tellWarning(err));
        const rejects = makeRejects({ maxRate: config.maxRejectRate });
        tellRejects(rejects, err);
        const maxLength = maxLengthOf(config, tokenizer, model.config.maxPositions);
        return pipe(
          prepareRows(
            requireRows(openDataset(own.trainDataset), own.trainDataset.join(', ')),
            { tokenizer, rejects, warn: fewOfEach(tellWarning(err)) },
            { ...config, maxLength },
          ),
          TE.map(({ rows }) => rows.slice(0, own.calibrationRows)),
        );
      }),
      TE.bind('before', ({ loaded, rows, config }) =>
        evaluateRows(loaded.model, rows, { size: config.perDeviceEvalBatchSize }),
      ),
      TE.bind('quantized', ({ own, loaded, rows }) =>
        TE.fromEither(
          gptqRows(loaded.model, rows, { ...own, bits: own.bits === 8 ? 8 : 4 }, ({ module, error, nearestError }) =>
            err.write(
              `${module}: ${((100 * error) / nearestError).toFixed(1)} % of the error of rounding to nearest\n`,
            ),
          ),
        ),
      ),
      TE.bind('after', ({ quantized, rows, config }) =>
        evaluateRows(quantized.model, rows, { size: config.perDeviceEvalBatchSize }),
      ),
      TE.tap(({ own, quantized, outputDir, loaded: { tokenizer } }) =>
        saveGptq(outputDir, quantized, { ...own, bits: own.bits === 8 ? 8 : 4 }, { tokenizer }),
      ),
      TE.map(({ before, after, quantized, outputDir, rows }) => {
        const told = {
          perplexity_before: before.perplexity,
          perplexity_after: after.perplexity,
          modules: quantized.layers.length,
          calibration_rows: rows.length,
        };
        out.write(`${JSON.stringify(told)}\n`);
        err.write(`written to ${outputDir}\n`);
      }),
    ),
};
