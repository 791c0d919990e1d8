/** Data sets by name: a folder here or a repository on the Hub → the files of one split, each fetched when it is read. */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { fatal, isFatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { pathMatcher } from '../files/glob.js';
import type { DatasetChoice } from './datasetFiles.js';
import { isRepoId, repoOf, repoTitle } from './repo.js';
import type { Repo } from './repo.js';
import type { HubSettings } from './settings.js';
import { openSnapshot } from './snapshot.js';

/** One data file: what its name tells of its format, and where it lies once it is needed. */
export interface DataFile {
  readonly name: string;
  /** Its name is its path on this machine. */
  readonly isHere: boolean;
  readonly open: () => Promise<string>;
}

export interface NamedSet {
  readonly repo: Repo;
  readonly config?: string;
  readonly split?: string;
  /** Files by pattern, in place of those of a split. */
  readonly pattern?: string;
}

const orThrow = <A>(either: Either<FatalError, A>): A => {
  if (E.isLeft(either)) throw either.left;
  return either.right;
};

/** Endings by which a path is told from a name, whether the file is there or not. */
const isFileName = (path: string): boolean =>
  /\.(jsonl|ndjson|json|csv|tsv|txt|text|parquet|arrow|gz|zst|zip)$/i.test(path);

/**
 * `owner/name[@revision][:config[:split]]`, or `hf://datasets/owner/name[@revision][/pattern]`; undefined for what is written as a
 * path.
 */
export const namedSet = (text: string): Either<FatalError, NamedSet> | undefined => {
  const [, url] = /^hf:\/\/datasets\/(.*)$/.exec(text) ?? [];
  if (url !== undefined) {
    const [, name = '', pattern] = /^([^/]+\/[^/@]+(?:@(?:refs\/[^/]+\/)?[^/]+)?)(?:\/(.+))?$/.exec(url) ?? [];
    return E.map((repo: Repo) => ({ repo, ...(pattern === undefined ? {} : { pattern }) }))(repoOf('dataset', name));
  }
  const [name = '', config = '', split = '', more] = text.split(':');
  const [id = ''] = name.split('@');
  if (more !== undefined || !isRepoId(id) || !id.includes('/') || isFileName(id)) return undefined;
  return E.map((repo: Repo) => ({
    repo,
    ...(config === '' ? {} : { config }),
    ...(split === '' ? {} : { split }),
  }))(repoOf('dataset', name));
};

/** Loaded late: most data sets are a file, and a card is YAML, whose reader is as large as the rest of this folder. */
const choosing = () => import('./datasetFiles.js');

/** The data files of a split of a folder. */
export const folderFiles = async (dir: string, choice: DatasetChoice): Promise<ReadonlyArray<string>> => {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true }).catch((error: unknown) => {
    throw fileError(dir, error);
  });
  const paths = entries
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted();
  const readme = await readFile(join(dir, 'README.md'), 'utf8').catch(() => '');
  const { chooseFiles } = await choosing();
  const chosen = orThrow(chooseFiles(dir, paths, readme, choice));
  if (chosen === undefined) {
    throw usage('E_IS_DIRECTORY', `${dir} is a directory without data files`, {
      file: dir,
      expected: '.jsonl, .json, .csv, .tsv, .txt, .parquet or .arrow files',
      actual: paths.length === 0 ? 'an empty directory' : paths.slice(0, 12).join(', '),
    });
  }
  return chosen.map((path) => join(dir, path));
};

/** The branch into which the Hub converts data sets that only a script can read. */
const convertedBranch = 'refs/convert/parquet';

/** The files of a data set on the Hub. Throws a `FatalError`. */
export const hubFiles = async (
  named: NamedSet,
  choice: DatasetChoice,
  settings: HubSettings,
  tell: (told: string) => void = () => undefined,
): Promise<ReadonlyArray<DataFile>> => {
  const { repo, pattern } = named;
  const title = repoTitle(repo);
  const wanted: DatasetChoice = { config: named.config ?? choice.config, split: named.split ?? choice.split };
  const snapshot = await openSnapshot(repo, settings).catch((error: unknown) => {
    throw isFatal(error)
      ? fatal(error.code, `data set ${error.message}`, { ...error.details, kind: error.kind })
      : error;
  });
  tell(`${title} of the Hub, commit ${snapshot.commit}${snapshot.cached ? ', from the cache' : ''}`);
  const files = (paths: ReadonlyArray<string>, from = snapshot): ReadonlyArray<DataFile> =>
    paths.map((path) => ({ name: path, isHere: false, open: () => from.file(path) }));
  if (pattern !== undefined) {
    const found = snapshot.paths.filter(pathMatcher(pattern));
    if (found.length > 0) return files(found);
    throw usage('E_NO_FILE', `no file of ${title} matches ${pattern}`, {
      actual: snapshot.paths.slice(0, 12).join(', '),
    });
  }
  const readme = snapshot.paths.includes('README.md') ? await readFile(await snapshot.file('README.md'), 'utf8') : '';
  const { chooseFiles, chooseConverted } = await choosing();
  const chosen = orThrow(chooseFiles(title, snapshot.paths, readme, wanted));
  if (chosen !== undefined) return files(chosen);
  const converted = await openSnapshot({ ...repo, revision: convertedBranch }, settings).catch((error: unknown) => {
    if (isFatal(error) && error.code !== 'E_HUB_NOT_FOUND') throw error;
    throw usage('E_NO_FILE', `${title} holds no data files that can be read`, {
      expected: '.jsonl, .json, .csv, .tsv, .txt, .parquet or .arrow files',
      actual: snapshot.paths.slice(0, 12).join(', '),
    });
  });
  return files(orThrow(chooseConverted(title, converted.paths, wanted)), converted);
};
