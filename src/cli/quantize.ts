/** `rxtune quantize`: a trained model in 4 or 8 bits by GPTQ, with its perplexity before and after. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { usage } from '../errors.js';
import type { FatalError } from '../errors.js';
import {
  boolean,
  list,
  nonEmptyString,
  numberThat,
  oneOf,
  positiveInteger,
  positiveNumber,
} from '../formats/optionCodecs.js';
import { closed, option, optional, required } from '../formats/closed.js';
import { openDataset } from '../formats/datasets/dataset.js';
import { requireRows } from '../formats/datasets/requireRows.js';
import type { CausalLM } from '../model/model.js';
import type { GptqOptions } from '../model/quantize/gptq.js';
import type { Labelled } from '../records.js';
import { makeRejects } from '../streams/rejects.js';
import { evaluateRows } from '../train/evaluating/evaluate.js';
import type { Loaded, LoadedModel } from '../train/loading/load.js';
import { loadAsked } from '../train/loading/loadAsked.js';
import type { SftConfig } from '../train/options/config.js';
import { fewOfEach, maxLengthOf } from '../train/preparing/prepare.js';
import { prepareRows } from '../train/preparing/prepareRows.js';
import { foundDataset } from '../train/run/beforeLoading.js';
import type { Dataset } from '../train/run/run.js';
import { gptqRows, saveGptq } from '../train/saving/gptq.js';
import { gptqCard, writeModelCard } from '../train/saving/writeModelCard.js';
import type { CommandLine } from './command.js';
import { evalRows, filesDoc } from './datasets.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellLocated, tellRejects, tellWarning } from './tell.js';
import type { Line } from './tell.js';

const Own = closed('quantize', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  trainDataset: required(list(nonEmptyString), `Rows to calibrate on, prepared as for training. ${filesDoc}`),
  evalDataset: optional(
    list(nonEmptyString),
    'Rows that calibration does not see, to measure on; of a folder or name the split test or validation.',
  ),
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

type Rows = ReadonlyArray<Labelled>;
type LoadedParts = LoadedModel & Partial<Pick<Loaded, 'tokenizer'>>;

const preparing =
  ({ model, tokenizer }: LoadedParts, config: SftConfig, err: Line) =>
  (dataset: Dataset): TaskEither<FatalError, Rows> => {
    const rejects = makeRejects({ maxRate: config.maxRejectRate });
    tellRejects(rejects, err);
    const maxLength = maxLengthOf(config, tokenizer, model.config.maxPositions);
    return pipe(
      prepareRows(dataset, { tokenizer, rejects, warn: fewOfEach(tellWarning(err)) }, { ...config, maxLength }),
      TE.map(({ rows }) => rows),
    );
  };

/** Perplexities of a model on calibration rows and on those that are held out. */
interface Measured {
  readonly calibration: number;
  readonly heldOut?: number;
}

const measuring =
  (calibration: Rows, heldOut: Rows | undefined, { perDeviceEvalBatchSize: size }: SftConfig) =>
  (model: CausalLM): TaskEither<FatalError, Measured> =>
    pipe(
      evaluateRows(model, calibration, { size }),
      TE.flatMap(({ perplexity }) =>
        heldOut === undefined
          ? TE.right({ calibration: perplexity })
          : pipe(
              evaluateRows(model, heldOut, { size }),
              TE.map((held) => ({ calibration: perplexity, heldOut: held.perplexity })),
            ),
      ),
    );

export const quantizeCommand: CommandLine = {
  flags: (command) => addSftFlags(command, Own.fields, ['data', 'loop', 'running']),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('outputDir', ({ config: { outputDir } }) =>
        outputDir === undefined
          ? TE.left(usage('E_OPTIONS', 'there is nowhere to write to', { field: '--output-dir' }))
          : TE.right(outputDir),
      ),
      TE.let('calibration', ({ own }) => requireRows(openDataset(own.trainDataset), own.trainDataset.join(', '))),
      TE.let('apart', ({ own }) => (own.evalDataset === undefined ? undefined : evalRows(own.evalDataset, err))),
      // A misspelt name is told before gigabytes are loaded.
      TE.tap(({ calibration }) => foundDataset(calibration)),
      TE.tap(({ apart }) => (apart === undefined ? TE.right(undefined) : foundDataset(apart))),
      TE.bind('loaded', ({ own, config }) => loadAsked(own.model, config, { hub: tellingHub(err) })),
      TE.bind('rows', ({ own, config, calibration, loaded }) => {
        tellLocated(err, loaded.located);
        loaded.warnings.forEach(tellWarning(err));
        return pipe(
          calibration,
          preparing(loaded, config, err),
          TE.map((rows) => rows.slice(0, own.calibrationRows)),
        );
      }),
      TE.bind('heldOut', ({ apart, config, loaded }) =>
        apart === undefined
          ? TE.right(undefined)
          : preparing(loaded, { ...config, packing: config.evalPacking ?? config.packing }, err)(apart),
      ),
      TE.let('measure', ({ rows, heldOut, config }) => measuring(rows, heldOut, config)),
      TE.let(
        'how',
        ({ own: { bits, groupSize, descAct, sym, dampPercent } }): GptqOptions => ({
          bits: bits === 8 ? 8 : 4,
          groupSize,
          descAct,
          sym,
          dampPercent,
        }),
      ),
      TE.bind('before', ({ loaded: { model }, measure }) => measure(model)),
      TE.bind('quantized', ({ how, loaded, rows }) =>
        TE.fromEither(
          gptqRows(loaded.model, rows, {
            ...how,
            onLayer: ({ module, error, nearestError }) =>
              err.write(
                `${module}: ${((100 * error) / nearestError).toFixed(1)} % of the error of rounding to nearest\n`,
              ),
          }),
        ),
      ),
      TE.bind('after', ({ quantized: { model }, measure }) => measure(model)),
      TE.tap(({ quantized, outputDir, loaded: { tokenizer } }) => saveGptq(outputDir, quantized, { tokenizer })),
      TE.let('told', ({ before, after, quantized, rows, heldOut }) => ({
        perplexity_before: before.calibration,
        perplexity_after: after.calibration,
        ...(before.heldOut === undefined || after.heldOut === undefined
          ? {}
          : { eval_perplexity_before: before.heldOut, eval_perplexity_after: after.heldOut }),
        modules: quantized.layers.length,
        calibration_rows: rows.length,
        ...(heldOut === undefined ? {} : { eval_rows: heldOut.length }),
      })),
      TE.tap(({ own, how, outputDir, loaded, quantized: { model }, told }) =>
        writeModelCard(
          outputDir,
          gptqCard(outputDir, model, how, {
            modelName: own.model,
            datasetNames: own.trainDataset,
            chats: loaded.tokenizer?.chatTemplate !== undefined,
            measured: told,
          }),
        ),
      ),
      TE.map(({ told, outputDir }) => {
        out.write(`${JSON.stringify(told)}\n`);
        err.write(`written to ${outputDir}\n`);
      }),
    ),
};
