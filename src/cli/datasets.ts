/** Data sets as a command line names them: files, patterns, folders, names on the Hub; with weights, a mixture. */
import { existsSync } from 'node:fs';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { type FatalError, usage } from '../errors.js';
import { openDataset, type DatasetOptions } from '../formats/datasets/dataset.js';
import { interleave } from '../formats/datasets/interleave.js';
import { requireRows } from '../formats/datasets/requireRows.js';
import type { SftConfig } from '../train/options/config.js';
import { isMixture } from '../train/preparing/divide.js';
import type { Dataset, Mixture, SftSetup } from '../train/run/run.js';
import { tellingHub, type Line } from './tell.js';

export const filesDoc =
  'Files of rows (.jsonl, .json, .txt, .csv, .tsv, .parquet, .arrow, packed or not), patterns, folders, or names on the Hub: ' +
  'owner/name[@revision][:config[:split]].';

export const trainDatasetDoc = `${filesDoc} With PATH=WEIGHT for each: a mixture.`;

export const evalDatasetDoc =
  'The same for evaluation, without weights; of a folder or name the split test or validation.';

/** A path and what stands after its last `=`, where that is a number and no file has the whole name. */
export const weighted = (text: string): { readonly path: string; readonly weight?: number } => {
  const [, path, weight] = /^(.+)=(\d+(?:\.\d*)?|\.\d+)$/.exec(text) ?? [];
  return path === undefined || existsSync(text) ? { path: text } : { path, weight: Number(weight) };
};

const opened = (paths: ReadonlyArray<string>, err: Line, options: DatasetOptions): Dataset => {
  // Once, not for every pass.
  const told = new Set<string>();
  const onLocated = (where: string): void => {
    if (!told.has(where)) err.write(`data: ${where}\n`);
    told.add(where);
  };
  return requireRows(openDataset(paths, { ...options, hub: tellingHub(err), onLocated }), paths.join(', '));
};

/** The rows to train on: one after the other, or, where weights are given, mixed. */
const trainRows = (texts: ReadonlyArray<string>, err: Line): Either<FatalError, Dataset | Mixture> => {
  const sources = texts.map(weighted);
  const without = sources.find(({ weight }) => weight === undefined);
  if (sources.every(({ weight }) => weight === undefined)) return E.right(opened(texts, err, {}));
  if (without !== undefined) {
    return E.left(
      usage('E_MIXTURE', 'some sources have a weight and some have none', {
        field: 'trainDataset',
        expected: 'PATH=WEIGHT for each, or for none',
        actual: without.path,
      }),
    );
  }
  return E.right({
    mix: sources.map(({ path, weight = 1 }) => ({ dataset: opened([path], err, {}), weight })),
  });
};

/** The same as one stream of rows, for commands that do not train. */
export const mixedRows = (
  texts: ReadonlyArray<string>,
  { seed, dataSeed, stoppingStrategy }: Pick<SftConfig, 'seed' | 'dataSeed' | 'stoppingStrategy'>,
  err: Line,
): Either<FatalError, Dataset> =>
  E.map((rows: Dataset | Mixture) =>
    isMixture(rows)
      ? interleave(
          rows.mix.map(({ dataset, weight }) => ({ rows: dataset, weight })),
          { seed: dataSeed ?? seed, stoppingStrategy },
        )
      : rows,
  )(trainRows(texts, err));

export const evalRows = (paths: ReadonlyArray<string>, err: Line): Dataset =>
  opened(paths, err, { split: ['test', 'validation'] });

/** One set of all the paths; or sets by name, where names are given: `easy=a.jsonl,hard=b.jsonl`. Those without one are `rest`. */
const evalSets = (paths: ReadonlyArray<string>, err: Line): Dataset | Readonly<Record<string, Dataset>> => {
  const named = paths.map((path) => (existsSync(path) ? null : /^([A-Za-z_][\w-]*)=(.+)$/.exec(path)));
  if (named.every((match) => match === null)) return evalRows(paths, err);
  const sets: Record<string, ReadonlyArray<string>> = {};
  for (const [i, match] of named.entries()) {
    const [, name = 'rest', path = paths[i] ?? ''] = match ?? [];
    sets[name] = [...(sets[name] ?? []), path];
  }
  return Object.fromEntries(Object.entries(sets).map(([name, own]) => [name, evalRows(own, err)]));
};

/** What a command that trains reads. `E_MIXTURE` where some sources have weights and some none. */
export const setsOf = (
  {
    trainDataset,
    evalDataset,
  }: { readonly trainDataset: ReadonlyArray<string>; readonly evalDataset?: ReadonlyArray<string> | undefined },
  err: Line,
): Either<FatalError, Pick<SftSetup, 'trainDataset' | 'evalDataset'>> =>
  E.map((rows: Dataset | Mixture) => ({
    trainDataset: rows,
    ...(evalDataset === undefined ? {} : { evalDataset: evalSets(evalDataset, err) }),
  }))(trainRows(trainDataset, err));
