/** A commit of a repository: its files by name, each downloaded when it is asked for. */
import { readdir, readFile } from 'node:fs/promises';
import { join, relative, sep } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { fatal, isFatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { isDirectory } from '../files/directory.js';
import { ensureFile, writeSmall } from './download.js';
import { isInside, repoFolders, repoTitle, repoUrls } from './repo.js';
import type { Repo } from './repo.js';
import { requested } from './request.js';
import type { HubSettings } from './settings.js';

export interface Snapshot {
  readonly repo: Repo;
  readonly commit: string;
  /** Where its files lie, those that have been asked for. */
  readonly dir: string;
  /** Paths of all files of the commit. */
  readonly paths: ReadonlyArray<string>;
  /** True when the Hub was not asked, or did not answer. */
  readonly cached: boolean;
  /** Path on disk of one of `paths`. Throws a `FatalError`. */
  readonly file: (path: string) => Promise<string>;
}

const Info = t.type({ sha: t.string, siblings: t.array(t.type({ rfilename: t.string })) });
const Listing = t.array(t.string);

const isCommit = (text: string): boolean => /^[0-9a-f]{40}$/.test(text);

const wrongAnswer = (repo: Repo, why: string): FatalError =>
  fatal('E_HUB_ANSWER', `${repoTitle(repo)}: ${why}`, { hint: 'is HF_ENDPOINT a Hub?' });

/** Commit and files as the Hub has them now; written down, so that they are known without it. */
const asked = async (repo: Repo, settings: HubSettings): Promise<Pick<Snapshot, 'commit' | 'paths'>> => {
  const answer = await requested(
    () => ({ url: repoUrls(settings.endpoint, repo).info(repo.revision), what: repoTitle(repo) }),
    settings,
    (response) => response.text(),
  );
  let value: unknown;
  try {
    value = JSON.parse(answer);
  } catch {
    throw wrongAnswer(repo, 'the answer is not JSON');
  }
  const decoded = Info.decode(value);
  if (E.isLeft(decoded)) throw wrongAnswer(repo, 'the answer lists no commit and files');
  const { sha: commit, siblings } = decoded.right;
  const paths = siblings.map(({ rfilename }) => rfilename).toSorted();
  if (!isCommit(commit)) throw wrongAnswer(repo, `${JSON.stringify(commit)} is no commit`);
  const outside = paths.find((path) => !isInside(path));
  if (outside !== undefined) {
    throw fatal('E_HUB_PATH', `${repoTitle(repo)} names a file outside its folder`, {
      expected: 'relative paths without ".."',
      actual: JSON.stringify(outside),
    });
  }
  const folders = repoFolders(settings.cacheDir, repo);
  try {
    await writeSmall(folders.listing(commit), JSON.stringify(paths));
    if (commit !== repo.revision) await writeSmall(folders.ref(repo.revision), commit);
  } catch (error) {
    throw fileError(folders.folder, error);
  }
  return { commit, paths };
};

const filesBelow = async (dir: string): Promise<ReadonlyArray<string>> =>
  (await readdir(dir, { withFileTypes: true, recursive: true }))
    .filter((entry) => !entry.isDirectory())
    .map((entry) => relative(dir, join(entry.parentPath, entry.name)).split(sep).join('/'))
    .toSorted();

/** The same from the cache; undefined when it has no such commit. `partly`: what is there will do, listed or not. */
const remembered = async (
  repo: Repo,
  { cacheDir }: HubSettings,
  partly: boolean,
): Promise<Pick<Snapshot, 'commit' | 'paths'> | undefined> => {
  const folders = repoFolders(cacheDir, repo);
  const commit = isCommit(repo.revision)
    ? repo.revision
    : await readFile(folders.ref(repo.revision), 'utf8').then(
        (text) => text.trim(),
        () => '',
      );
  if (!isCommit(commit)) return undefined;
  // Not there, or damaged: then it is asked for again.
  const listed = await readFile(folders.listing(commit), 'utf8')
    .then((text) => Listing.decode(JSON.parse(text)))
    .catch(() => undefined);
  if (listed !== undefined && E.isRight(listed) && listed.right.every(isInside)) return { commit, paths: listed.right };
  // An entry that the Python library has made: what is there is all that is known.
  if (!partly) return undefined;
  const dir = folders.snapshot(commit);
  return (await isDirectory(dir)) ? { commit, paths: await filesBelow(dir) } : undefined;
};

const notCached = (repo: Repo, { cacheDir }: HubSettings): FatalError =>
  usage('E_HUB_NOT_CACHED', `${repoTitle(repo)} is not in the cache`, {
    file: cacheDir,
    hint: 'HF_HUB_OFFLINE forbids to download it: unset it, or name a local directory',
  });

/** The commit that a revision names now. Throws a `FatalError`; without the Hub the cache answers, if it can. */
export const openSnapshot = async (repo: Repo, settings: HubSettings): Promise<Snapshot> => {
  const from = (found: Pick<Snapshot, 'commit' | 'paths'>, cached: boolean): Snapshot => ({
    ...found,
    repo,
    cached,
    dir: repoFolders(settings.cacheDir, repo).snapshot(found.commit),
    file: (path) => ensureFile(repo, found.commit, path, settings),
  });
  if (settings.offline || isCommit(repo.revision)) {
    const known = await remembered(repo, settings, settings.offline);
    if (known !== undefined) return from(known, true);
    if (settings.offline) throw notCached(repo, settings);
  }
  try {
    return from(await asked(repo, settings), false);
  } catch (error) {
    if (!isFatal(error) || error.code !== 'E_HUB_UNREACHABLE') throw error;
    const known = await remembered(repo, settings, true);
    if (known === undefined) throw error;
    return from(known, true);
  }
};
