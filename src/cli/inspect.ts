/** `rxtune inspect`: whether a data set is fit to train on, and its rows as the loss sees them, token by token. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { type FatalError, usage } from '../errors.js';
import { boolean, list, nonEmptyString, positiveInteger } from '../formats/optionCodecs.js';
import { closed, option, optional, required } from '../formats/closed.js';
import { writeTextAtomically } from '../formats/files/atomicFile.js';
import { locateModel } from '../formats/hub/locate.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import { configWarnings } from '../model/config.js';
import type { ModelConfig } from '../model/config.js';
import { chooseEngine, currentEngine } from '../train/engine.js';
import { contamination, contaminationFacts, type Contamination } from '../train/evaluating/contamination.js';
import { sampleRows } from '../train/generating/sampleRows.js';
import { modelConfigIn } from '../train/loading/load.js';
import { loadAsked } from '../train/loading/loadAsked.js';
import { estimateMemory, memoryFacts, memoryTiles, type MemoryEstimate } from '../train/memory/fitMemory.js';
import type { SftConfig } from '../train/options/config.js';
import { preflightDataset } from '../train/preflight/dataset.js';
import { encodePreflight } from '../train/preflight/encode.js';
import { preflightPage } from '../train/preflight/page.js';
import type { Preflight } from '../train/preflight/preflight.js';
import { preflightFault } from '../train/preflight/strict.js';
import { preflightText } from '../train/preflight/text.js';
import { maxLengthOf } from '../train/preparing/prepare.js';
import type { Dataset } from '../train/run/run.js';
import type { CommandLine } from './command.js';
import { mixedRows, trainDatasetDoc } from './datasets.js';
import { optionsOf, textInFlags } from './inFlags.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellWarning } from './tell.js';
import { tokenizerOf } from './tokenizerOf.js';

const Own = closed('inspect', {
  tokenizer: optional(
    nonEmptyString,
    'Directory of a tokenizer, or its name on the Hub. Not needed for rows that hold input_ids.',
  ),
  model: optional(nonEmptyString, 'Directory of a model, for its tokenizer and for the memory that a run would need.'),
  trainDataset: required(list(nonEmptyString), trainDatasetDoc),
  rows: option(positiveInteger, 3, 'Rows shown, beside one for each check that found any.'),
  maxRows: optional(positiveInteger, 'Rows read. Default: all.'),
  contamination: optional(
    positiveInteger,
    'Rows on which the model is measured with documents of a window attending to each other. Needs --model.',
  ),
  html: optional(nonEmptyString, 'HTML file to write: the report as one page.'),
  json: option(boolean, false, 'Write the report as JSON.'),
});

/** Colours are for terminals, unless the environment says no (no-color.org). */
const colourful = ({ isTTY }: { readonly isTTY?: boolean }): boolean =>
  isTTY === true && (process.env['NO_COLOR'] ?? '') === '';

/** What packing with attention across documents would cost on the first rows; undefined where it is not asked for. */
const measured = (
  { model, contamination: count }: { readonly model?: string | undefined; readonly contamination?: number | undefined },
  data: Dataset,
  config: SftConfig,
): TaskEither<FatalError, Contamination | undefined> => {
  if (count === undefined) return TE.right(undefined);
  if (model === undefined) {
    return TE.left(
      usage('E_OPTIONS', 'contamination is measured on a model', {
        field: 'contamination',
        hint: 'give --model DIR',
      }),
    );
  }
  return pipe(
    loadAsked(model, config),
    TE.flatMap(({ model: found, tokenizer }) => {
      const maxLength = maxLengthOf(config, tokenizer, found.config.maxPositions);
      return pipe(
        sampleRows(data, count, { tokenizer }, { ...config, maxLength, packing: false }),
        TE.flatMap((rows) => contamination(found, rows, { maxLength })),
      );
    }),
  );
};

/** A card that the run would use is asked what it has left. Where it does not start, the machine's memory is told. */
const asked = ({ device, engine }: SftConfig): TaskEither<FatalError, unknown> =>
  device === 'cuda' && currentEngine() === undefined
    ? pipe(
        chooseEngine({ device, engine }),
        TE.orElseW(() => TE.right(undefined)),
      )
    : TE.right(undefined);

/** The memory that training a model of this shape on these rows would need; undefined where there is nothing to train on. */
const memoryOf = (
  shape: ModelConfig | undefined,
  { rows, packing, maxLength, lengths }: Preflight,
  config: SftConfig,
): MemoryEstimate | undefined => {
  if (shape === undefined || rows === 0) return undefined;
  const longest = packing.active ? maxLength : Math.min(maxLength, lengths.longest);
  return estimateMemory(shape, config, longest * config.perDeviceTrainBatchSize);
};

/** The shape of the model that is named, its weights left where they are. */
const shapeOf = (
  model: string | undefined,
  config: SftConfig,
  err: NodeJS.WritableStream,
): TaskEither<FatalError, ModelConfig | undefined> =>
  model === undefined
    ? TE.right(undefined)
    : pipe(
        locateModel(model, { part: 'tokenizer', hub: tellingHub(err) }),
        TE.flatMap(({ dir }) => modelConfigIn(dir, config)),
      );

/** The report with its checks in the words of the command line. */
const inFlags = (report: Preflight, told: (text: string) => string): Preflight => ({
  ...report,
  checks: report.checks.map((check) => ({ ...check, title: told(check.title) })),
});

/** Ids in place of text where there is no tokenizer to tell. */
const decoder =
  (tokenizer: Tokenizer | undefined) =>
  (ids: ReadonlyArray<number>): string =>
    tokenizer?.decode(ids) ?? ids.map((id) => `${id} `).join('');

export const inspectCommand: CommandLine = {
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('data', ({ own, config }) => TE.fromEither(mixedRows(own.trainDataset, config, err))),
      TE.bind('tokenizer', ({ own, config }) => tokenizerOf(own, config, err)),
      TE.bind('shape', ({ own, config }) => shapeOf(own.model, config, err)),
      TE.tapIO(({ shape, config }) => () => {
        if (shape !== undefined) configWarnings(shape, config).forEach(tellWarning(err));
      }),
      TE.bind('report', ({ own, config, data, tokenizer, shape }) =>
        preflightDataset(
          data,
          { tokenizer, samples: own.rows, maxRows: own.maxRows },
          { ...config, maxLength: maxLengthOf(config, tokenizer, shape?.maxPositions) },
        ),
      ),
      TE.bind('cost', ({ own, data, config }) => measured(own, data, config)),
      TE.tap(({ shape, config }) => (shape === undefined ? TE.right(undefined) : asked(config))),
      TE.let('memory', ({ shape, config, report }) => memoryOf(shape, report, config)),
      TE.let('told', () => (text: string) => textInFlags(text, optionsOf(command))),
      TE.tap(({ own, tokenizer, report, cost, memory, told }) =>
        own.html === undefined
          ? TE.right(undefined)
          : writeTextAtomically(
              own.html,
              preflightPage(inFlags(report, told), {
                title: own.trainDataset.join(', '),
                decode: decoder(tokenizer),
                padTokenId: tokenizer?.padTokenId,
                facts: [
                  ...(cost === undefined ? [] : contaminationFacts(cost)),
                  ...(memory === undefined ? [] : memoryTiles(memory)),
                ],
              }),
            ),
      ),
      TE.flatMap(({ own, config, tokenizer, report, cost, memory, told }) => {
        out.write(
          own.json
            ? `${JSON.stringify({ ...encodePreflight(report), ...(cost === undefined ? {} : { contamination: cost }), ...(memory === undefined ? {} : { memory }) })}\n`
            : preflightText(inFlags(report, told), {
                colours: colourful(out),
                decode: decoder(tokenizer),
                padTokenId: tokenizer?.padTokenId,
                facts: cost === undefined ? [] : contaminationFacts(cost),
                memory:
                  memory === undefined ? [] : memoryFacts(memory).map(([name, value]) => [name, told(value)] as const),
              }),
        );
        const fault = config.strict ? preflightFault(report) : undefined;
        return fault === undefined ? TE.right(undefined) : TE.left(fault);
      }),
    ),
};
