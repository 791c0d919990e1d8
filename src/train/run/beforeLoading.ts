/** What can be found wrong with a run before its model is loaded. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { findDataset } from '../../formats/datasets/presence.js';
import { describe, kindOf } from '../../formats/describe.js';
import { codeOf, saidBySystem } from '../../formats/files/byteSource.js';
import { makeWritableDirectory } from '../../formats/files/makeDirectory.js';
import { sourceFailed } from '../../streams/pull.js';
import { chatTemplateSource } from '../loading/withChatTemplate.js';
import type { SftConfig } from '../options/config.js';
import { isMixture, notBothGiven } from '../preparing/divide.js';
import { evalSets, isDataset, ofField, ofSet } from '../preparing/prepareRows.js';
import { pushable } from './pushing.js';
import { findCheckpoint } from './resume.js';
import type { Dataset, SftSetup } from './run.js';

type Sets = Pick<SftSetup, 'trainDataset' | 'evalDataset'>;

/** Evaluation that is asked for has rows to evaluate on. `E_NO_EVAL_DATASET`. */
const evaluable = (sets: Sets, { evalStrategy, evalOnStart, evalSplit }: SftConfig): Either<FatalError, void> => {
  const asked = evalStrategy !== 'no' ? 'evalStrategy' : evalOnStart ? 'evalOnStart' : undefined;
  if (asked === undefined || evalSplit !== undefined || Object.keys(evalSets(sets)).length > 0)
    return E.right(undefined);
  return E.left(
    usage('E_NO_EVAL_DATASET', `${asked} asks for evaluation, and there are no rows to evaluate on`, {
      field: asked,
      hint: 'give evalDataset, or evalSplit to hold back rows',
    }),
  );
};

/** A loss of one's own is the only one. `E_OPTIONS`. */
const oneLoss = (
  { computeLoss }: Pick<SftSetup, 'computeLoss'>,
  { lossType, labelSmoothingFactor }: SftConfig,
): Either<FatalError, void> => {
  const field = lossType === 'dft' ? 'lossType' : labelSmoothingFactor > 0 ? 'labelSmoothingFactor' : undefined;
  return computeLoss === undefined || field === undefined
    ? E.right(undefined)
    : E.left(
        usage('E_OPTIONS', `${field} describes a loss, and computeLoss is another`, {
          field,
          hint: 'leave one of the two out; what the option does can be a part of computeLoss',
        }),
      );
};

/** The output directory, made and found writable; `E_OUTPUT_DIR` otherwise. */
const writable = (dir: string): TaskEither<FatalError, void> =>
  TE.tryCatch(
    () => makeWritableDirectory(dir),
    (cause) =>
      fatal(
        'E_OUTPUT_DIR',
        ['EEXIST', 'ENOTDIR'].includes(codeOf(cause))
          ? `${dir}, or part of its path, is a file and not a directory`
          : `the output directory cannot be written: ${saidBySystem(cause)}`,
        { file: dir, cause },
      ),
  );

/** Whether what is given as rows can be iterated, and is no path. `E_OPTIONS`. */
const areRows = (field: string, given: unknown): Either<FatalError, void> =>
  isDataset(given)
    ? E.right(undefined)
    : E.left(
        usage('E_OPTIONS', `${field} is ${kindOf(given)}, and rows are wanted`, {
          field,
          expected: 'an iterable of rows, such as openDataset(path), jsonl(file) or a list of records',
          actual: describe(given),
          ...(typeof given === 'string' ? { hint: `openDataset(${JSON.stringify(given)}) reads them` } : {}),
        }),
      );

/** Whether all that is given as rows is such. */
const allRows = ({ trainDataset, evalDataset }: Sets): Either<FatalError, void> => {
  const sources: ReadonlyArray<unknown> =
    typeof trainDataset === 'object' && isMixture(trainDataset)
      ? trainDataset.mix.map(({ dataset }) => dataset)
      : [trainDataset];
  const sets: ReadonlyArray<readonly [string, unknown]> =
    evalDataset === undefined
      ? []
      : typeof evalDataset !== 'object' || isDataset(evalDataset)
        ? [['evalDataset', evalDataset]]
        : Object.entries(evalDataset).map(([name, set]) => [`evalDataset.${name}`, set]);
  const checks = [...sources.map((source) => ['trainDataset', source] as const), ...sets];
  return E.map(() => undefined)(E.sequenceArray(checks.map(([field, given]) => areRows(field, given))));
};

/** Looks for what the rows are read from. Errors are those of reading it: `E_NO_FILE`, `E_UNKNOWN_FORMAT`, `E_HUB_NOT_FOUND` and others. */
export const foundDataset = (dataset: Dataset): TaskEither<FatalError, void> =>
  TE.tryCatch(() => findDataset(dataset), sourceFailed);

const datasets = (sets: Sets): ReadonlyArray<TaskEither<FatalError, void>> => {
  const { trainDataset } = sets;
  const sources = isMixture(trainDataset) ? trainDataset.mix.map(({ dataset }) => dataset) : [trainDataset];
  return [
    ...sources.map((source) => TE.mapLeft(ofField('trainDataset'))(foundDataset(source))),
    ...Object.entries(evalSets(sets)).map(([name, dataset]) => TE.mapLeft(ofSet(name))(foundDataset(dataset))),
  ];
};

/** The chat template that is asked for can be read. */
const template = ({ chatTemplate }: SftConfig): TaskEither<FatalError, unknown> =>
  chatTemplate === undefined ? TE.right(undefined) : chatTemplateSource(chatTemplate);

/**
 * Refuses a run that could not begin, in a moment and with the error it would end in after its model was loaded: data sets that are
 * no rows (`E_OPTIONS`) or not there (the errors of reading them), two losses or evaluation of two kinds (`E_OPTIONS`), evaluation of no rows (`E_NO_EVAL_DATASET`), a checkpoint to go
 * on from that is missing (those of `findCheckpoint`), a chat template whose file is not there (`E_NO_FILE`), an output
 * directory, which is made, that cannot be written (`E_OUTPUT_DIR`), and last a Hub that would not be uploaded to (errors of `pushToHub`).
 */
export const beforeLoading = (
  sets: Sets & Pick<SftSetup, 'computeLoss' | 'hub'>,
  config: SftConfig,
): TaskEither<FatalError, void> =>
  pipe(
    TE.fromEither(allRows(sets)),
    TE.flatMapEither(() => oneLoss(sets, config)),
    TE.flatMapEither(() => evaluable(sets, config)),
    TE.flatMapEither(() => notBothGiven(sets, config)),
    TE.flatMap(() => TE.sequenceSeqArray(datasets(sets))),
    TE.flatMap(() => TE.mapLeft(ofField('resumeFromCheckpoint'))(findCheckpoint(config))),
    TE.flatMap(() => template(config)),
    TE.tap(() => (config.outputDir === undefined ? TE.right(undefined) : writable(config.outputDir))),
    TE.flatMap(() => pushable(sets, config)),
    TE.map(() => undefined),
  );
