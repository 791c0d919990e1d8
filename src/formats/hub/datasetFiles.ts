/** Which files of a folder make a split of a data set: by its card when it says so, else by their names, as `datasets` does. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { parse } from 'yaml';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { pathMatcher } from '../files/glob.js';

/** Files by split, in the order in which they are read. */
export type Splits = Readonly<Record<string, ReadonlyArray<string>>>;

/** Which part of a data set on the Hub, or of a folder laid out like one. */
export interface DatasetChoice {
  /** A configuration (subset). Default: the one the card calls the default, or the only one. */
  readonly config?: string | undefined;
  /** The first of these that is there; `train` by default. */
  readonly split?: string | ReadonlyArray<string> | undefined;
}

const dataFile = /\.(jsonl|ndjson|json|csv|tsv|txt|text|parquet|arrow)(\.gz|\.zst)?$/i;
const ignored = new Set(['config.json', 'dataset_info.json', 'dataset_infos.json', 'dataset_dict.json', 'state.json']);

const isHidden = (path: string): boolean =>
  path.split('/').some((part) => part.startsWith('.') || part.startsWith('__'));

const isData = (path: string): boolean =>
  dataFile.test(path) && !isHidden(path) && !ignored.has(path.replace(/^.*\//, ''));

/** Paths of data files; where several formats lie side by side, those of the most frequent one. */
const ofOneFormat = (paths: ReadonlyArray<string>): ReadonlyArray<string> => {
  const counts = new Map<string, number>();
  const formatOf = (path: string): string => dataFile.exec(path)?.[1]?.toLowerCase() ?? '';
  for (const path of paths) counts.set(formatOf(path), (counts.get(formatOf(path)) ?? 0) + 1);
  const [most] = [...counts].toSorted(([, a], [, b]) => b - a)[0] ?? [''];
  return paths.filter((path) => formatOf(path) === most);
};

const keywords: Readonly<Record<string, string>> = {
  train: 'train|training',
  validation: 'validation|valid|dev|val',
  test: 'test|testing|eval|evaluation',
};
const border = '[-._ 0-9]';

const grouped = (paths: ReadonlyArray<string>, splitOf: (path: string) => string | undefined): Splits => {
  // Not an object at first, which has names of its own ("constructor").
  const splits = new Map<string, Array<string>>();
  for (const path of paths) {
    const split = splitOf(path);
    if (split === undefined) continue;
    const own = splits.get(split);
    if (own === undefined) splits.set(split, [path]);
    else own.push(path);
  }
  return Object.fromEntries(splits);
};

const keywordIn = (pattern: (words: string) => RegExp): ((path: string) => string | undefined) => {
  const tests = Object.entries(keywords).map(([split, words]) => [split, pattern(words)] as const);
  return (path) => tests.find(([, test]) => test.test(path))?.[0];
};

const byShardName = (path: string): string | undefined =>
  /^data\/(\w+(?:\.\w+)*)-\d{5}-of-\d{5}.*\..*$/.exec(path)?.[1];
const byFolder = keywordIn((words) => new RegExp(`(^|/)([^/]*${border})?(${words})(${border}[^/]*)?/`, 'i'));
const byFileName = keywordIn((words) => new RegExp(`(^|/)([^/]*${border})?(${words})${border}[^/]*$`, 'i'));

/** Splits that the names tell: `data/train-00000-of-00001.…`, else folders, else files named after a split, else all is `train`. */
export const splitsByName = (paths: ReadonlyArray<string>): Splits => {
  const data = ofOneFormat(paths.filter(isData).toSorted());
  for (const splitOf of [byShardName, byFolder, byFileName]) {
    const splits = grouped(data, splitOf);
    if (Object.keys(splits).length > 0) return splits;
  }
  return data.length === 0 ? {} : { train: data };
};

const oneOrMore = t.union([t.string, t.array(t.string)]);
const Config = t.intersection([
  t.type({ config_name: t.string }),
  t.partial({
    default: t.boolean,
    data_dir: t.string,
    data_files: t.union([oneOrMore, t.array(t.type({ split: t.string, path: oneOrMore }))]),
  }),
]);
type Config = t.TypeOf<typeof Config>;
const Card = t.type({ configs: t.array(Config) });

const configsOf = (readme: string): ReadonlyArray<Config> => {
  const [, front] = /^---\r?\n([^]*?)\r?\n---\s*(\n|$)/.exec(readme) ?? [];
  if (front === undefined) return [];
  try {
    const card = Card.decode(parse(front));
    return E.isRight(card) ? card.right.configs : [];
  } catch {
    return [];
  }
};

const listOf = (one: string | ReadonlyArray<string>): ReadonlyArray<string> => (typeof one === 'string' ? [one] : one);

const splitsOfConfig = (paths: ReadonlyArray<string>, { data_dir: dir, data_files: files }: Config): Splits => {
  const below = dir === undefined ? '' : `${dir.replace(/^\.?\/|\/+$/g, '')}/`;
  const matching = (patterns: string | ReadonlyArray<string>): ReadonlyArray<string> => {
    const found = listOf(patterns).flatMap((pattern) => paths.filter(pathMatcher(below + pattern)));
    return [...new Set(found)].filter((path) => dataFile.test(path));
  };
  if (files === undefined) return splitsByName(paths.filter((path) => path.startsWith(below)));
  const entries = listOf(files as string | ReadonlyArray<string>) as ReadonlyArray<
    string | { readonly split: string; readonly path: string | ReadonlyArray<string> }
  >;
  const plain = entries.filter((entry) => typeof entry === 'string');
  return {
    ...(plain.length === 0 ? {} : { train: matching(plain) }),
    ...Object.fromEntries(
      entries.flatMap((entry) => (typeof entry === 'string' ? [] : [[entry.split, matching(entry.path)] as const])),
    ),
  };
};

const chosenConfig = (
  title: string,
  configs: ReadonlyArray<Config>,
  { config }: DatasetChoice,
): Either<FatalError, Config | undefined> => {
  const names = configs.map((one) => one.config_name).join(', ');
  if (config !== undefined) {
    const found = configs.find((one) => one.config_name === config);
    return found === undefined
      ? E.left(
          usage('E_DATASET_CHOICE', `${title} has no configuration ${config}`, {
            expected: names === '' ? 'no configuration: the data set names none' : `one of ${names}`,
            actual: config,
          }),
        )
      : E.right(found);
  }
  const standard =
    configs.find((one) => one.default === true) ??
    configs.find((one) => one.config_name === 'default') ??
    (configs.length === 1 ? configs[0] : undefined);
  return standard === undefined && configs.length > 0
    ? E.left(
        usage('E_DATASET_CHOICE', `${title} has several configurations`, {
          expected: `one of ${names}`,
          hint: `write ${title}:NAME`,
        }),
      )
    : E.right(standard);
};

/** The files of the split that is asked for; `E_DATASET_CHOICE` says what there is instead. */
const ofSplit = (
  title: string,
  splits: Splits,
  { split = 'train' }: DatasetChoice,
): Either<FatalError, ReadonlyArray<string>> => {
  const wanted = listOf(split);
  const found = wanted.find((name) => Object.hasOwn(splits, name) && (splits[name]?.length ?? 0) > 0);
  return found === undefined
    ? E.left(
        usage('E_DATASET_CHOICE', `${title} has no split ${wanted.join(' or ')}`, {
          expected: `one of ${Object.keys(splits).join(', ')}`,
          actual: wanted.join(', '),
          hint: `name one: ${title}::SPLIT, or ${title}:CONFIG:SPLIT`,
        }),
      )
    : E.right(splits[found] ?? []);
};

/** The files of a split among the paths of a folder; `readme` is its card's text. Undefined: the folder holds no data files at all. */
export const chooseFiles = (
  title: string,
  paths: ReadonlyArray<string>,
  readme: string,
  choice: DatasetChoice,
): Either<FatalError, ReadonlyArray<string> | undefined> => {
  const configs = configsOf(readme);
  if (configs.length === 0 && !paths.some(isData)) return E.right(undefined);
  return E.flatMap((config: Config | undefined) =>
    ofSplit(title, config === undefined ? splitsByName(paths) : splitsOfConfig(paths, config), choice),
  )(chosenConfig(title, configs, choice));
};

/** The same for the branch that the Hub itself keeps in Parquet: `CONFIG/SPLIT/0000.parquet`. */
export const chooseConverted = (
  title: string,
  paths: ReadonlyArray<string>,
  choice: DatasetChoice,
): Either<FatalError, ReadonlyArray<string>> => {
  const parts = paths.flatMap((path) => {
    const [, config, split] = /^([^/]+)\/(?:partial-)?([^/]+)\/[^/]+\.parquet$/.exec(path) ?? [];
    return config === undefined || split === undefined ? [] : [{ config, split, path }];
  });
  const configs = [...new Set(parts.map(({ config }) => config))].map((name) => ({ config_name: name }));
  return E.flatMap((config: Config | undefined) =>
    ofSplit(
      title,
      grouped(
        parts.filter((part) => part.config === config?.config_name).map(({ path }) => path),
        (path) => parts.find((part) => part.path === path)?.split,
      ),
      choice,
    ),
  )(chosenConfig(title, configs, choice));
};
