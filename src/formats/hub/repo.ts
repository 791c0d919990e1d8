/** Names of repositories on the Hugging Face Hub, and the places in a cache directory that belong to them. */
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';

export type RepoKind = 'model' | 'dataset';

export interface Repo {
  readonly kind: RepoKind;
  /** `owner/name`, or `name` for the few old repositories without an owner. */
  readonly id: string;
  /** Branch, tag, commit or `refs/…`; `main` by default. */
  readonly revision: string;
}

const wrongName = (text: string, expected: string): FatalError =>
  usage('E_HUB_NAME', `${JSON.stringify(text)} is no name on the Hub`, { expected, actual: text });

/** As the Hub has it: letters, digits, `-`, `_`, `.`; no `--` or `..`; neither first nor last a `-` or `.`. */
const isNamePart = (part: string): boolean =>
  /^[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?$/.test(part) && !part.includes('--') && !part.includes('..');

/** True for what can name a repository and is written as nothing but a name: no `./`, no `/…`, no `~`. */
export const isRepoId = (text: string): boolean => {
  const parts = text.split('/');
  return parts.length <= 2 && text.length <= 96 && parts.every(isNamePart) && !text.endsWith('.git');
};

/** A relative path of plain segments: what cannot lead out of a directory, on any system. */
export const isInside = (path: string): boolean =>
  path !== '' && path.split('/').every((part) => part !== '' && part !== '.' && part !== '..') && !/[\\\0:]/.test(path);

/** `owner/name` or `owner/name@revision` as a repository; `E_HUB_NAME` for anything else. */
export const repoOf = (kind: RepoKind, text: string): Either<FatalError, Repo> => {
  const at = text.indexOf('@');
  const id = at === -1 ? text : text.slice(0, at);
  const revision = at === -1 ? 'main' : text.slice(at + 1);
  if (!isRepoId(id)) return E.left(wrongName(text, 'owner/name of letters, digits, "-", "_" and "."'));
  return isInside(revision)
    ? E.right({ kind, id, revision })
    : E.left(wrongName(text, 'after "@" a branch, tag or commit'));
};

export const repoTitle = ({ id, revision }: Repo): string => (revision === 'main' ? id : `${id}@${revision}`);

/** Where the Hub's API and files of a repository lie, below the endpoint. */
export const repoUrls = (endpoint: string, { kind, id }: Repo) => ({
  info: (revision: string): string => `${endpoint}/api/${kind}s/${id}/revision/${encodeURIComponent(revision)}`,
  file: (revision: string, path: string): string =>
    `${endpoint}/${kind === 'dataset' ? 'datasets/' : ''}${id}/resolve/${encodeURIComponent(revision)}/${path
      .split('/')
      .map(encodeURIComponent)
      .join('/')}`,
});

/** The folders of a repository in the cache, laid out as huggingface_hub lays them out. */
export const repoFolders = (cacheDir: string, { kind, id }: Repo) => {
  const folder = join(cacheDir, `${kind}s--${id.replaceAll('/', '--')}`);
  return {
    folder,
    blob: (etag: string): string => join(folder, 'blobs', etag),
    ref: (revision: string): string => join(folder, 'refs', revision),
    snapshot: (commit: string): string => join(folder, 'snapshots', commit),
    /** Ours: the list of all files of a commit, so that a part of them is never taken for the whole. */
    listing: (commit: string): string => join(folder, '.rxtune', `${commit}.json`),
  };
};
