/** Repositories on the Hub to write to: made where they are not there, and filled by commits. By the Hub's own library. */
import { stat } from 'node:fs/promises';
import { pathToFileURL } from 'node:url';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, isFatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import { authorization, bare, unreachable } from './connection.js';
import { isRepoId, repoOf, repoTitle } from './repo.js';
import type { Repo } from './repo.js';
import type { HubSettings } from './settings.js';
import { standIn, uploadFetch } from './uploadFetch.js';

/** One file of a commit. */
export interface FileToCommit {
  /** In the repository, with `/` between its parts. */
  readonly path: string;
  /** On this machine. */
  readonly file: string;
}

export interface CommitOptions {
  readonly title: string;
  readonly files: ReadonlyArray<FileToCommit>;
  /** What it ends early is as if it had never begun: a commit is there whole or not at all. */
  readonly signal?: AbortSignal | undefined;
}

/** A commit that was made. */
export interface HubCommit {
  /** Its hash. */
  readonly oid: string;
  /** Where it can be looked at. */
  readonly url: string;
}

/** Loaded late, and not there for those who never upload. */
const library = TE.tryCatch(
  () => import('@huggingface/hub'),
  (cause) =>
    usage('E_HUB_PACKAGE', 'uploads need the package @huggingface/hub, which is not installed', {
      hint: 'npm install @huggingface/hub',
      cause,
    }),
);

const withToken = 'set HF_TOKEN to a token with the role "write", of somebody who may write there';

/** What the Hub says of a request that it refuses. Its library adds the address, which may be signed, to the message. */
const saidBy = (error: object): string | undefined => {
  const data = 'data' in error ? error.data : undefined;
  if (typeof data !== 'object' || data === null || !('error' in data)) return undefined;
  return typeof data.error === 'string' ? data.error.slice(0, 300) : undefined;
};

const statusOf = (error: unknown): number | undefined =>
  typeof error === 'object' && error !== null && 'statusCode' in error && typeof error.statusCode === 'number'
    ? error.statusCode
    : undefined;

/** What was thrown while something was written, as what it means. */
const refusal =
  (what: string) =>
  (error: unknown): FatalError => {
    if (isFatal(error)) return error;
    const status = statusOf(error);
    if (status === undefined || typeof error !== 'object' || error === null) {
      const message = error instanceof Error ? error.message : String(error);
      return fatal('E_HUB', `${what}: ${message}`, { cause: error });
    }
    const said = saidBy(error);
    const details = said === undefined ? {} : { actual: said };
    if (status === 401)
      return fatal('E_HUB_DENIED', `${what}: the Hub does not know who asks (HTTP 401)`, {
        ...details,
        hint: withToken,
      });
    if (status === 403)
      return fatal('E_HUB_DENIED', `${what}: the token may not write there (HTTP 403)`, {
        ...details,
        hint: withToken,
      });
    if (status === 404)
      return fatal('E_HUB_NOT_FOUND', `${what}: the Hub has no such repository or branch (HTTP 404)`, details);
    return fatal('E_HUB_ANSWER', `${what}: the Hub refuses it (HTTP ${status})`, details);
  };

/** What every request needs. */
const asking = (what: string, settings: HubSettings) => ({
  accessToken: standIn,
  hubUrl: bare(settings.endpoint).replace(/\/+$/, ''),
  fetch: uploadFetch(what, settings),
});

/** Whether anything may be written at all, and whether there is somebody who asks: by a token, or by the name in a mirror's address. */
const writable = (what: string, settings: HubSettings): Either<FatalError, unknown> =>
  settings.offline
    ? E.left(usage('E_HUB_OFFLINE', 'nothing is uploaded while HF_HUB_OFFLINE forbids requests', { hint: 'unset it' }))
    : pipe(
        E.tryCatch(
          () => authorization(settings),
          () => unreachable(what, settings.endpoint, 'ERR_INVALID_URL'),
        ),
        E.filterOrElse(
          (headers) => 'authorization' in headers,
          () => usage('E_HUB_TOKEN', 'an upload needs a token of the Hub, and there is none', { hint: withToken }),
        ),
      );

/**
 * The repository that `name` means to who asks: `owner/name[@branch]`, or a name alone for one of one's own. Finds out whether anything
 * could be uploaded at all: `E_HUB_NAME`, `E_HUB_PACKAGE`, `E_HUB_OFFLINE`, `E_HUB_TOKEN`, `E_HUB_DENIED` (the token is not known),
 * `E_HUB_UNREACHABLE`.
 */
export const repoToWrite = (name: string, settings: HubSettings): TaskEither<FatalError, Repo> =>
  pipe(
    TE.fromEither(repoOf('model', name)),
    TE.bindTo('repo'),
    TE.let('what', ({ repo }) => `an upload to ${repoTitle(repo)}`),
    TE.tap(({ what }) => TE.fromEither(writable(what, settings))),
    TE.bind('hub', () => library),
    TE.bind('who', ({ hub, what }) => TE.tryCatch(() => hub.whoAmI(asking(what, settings)), refusal(what))),
    TE.map(({ repo, who }) => (repo.id.includes('/') ? repo : { ...repo, id: `${who.name}/${repo.id}` })),
    TE.filterOrElse(
      ({ id }) => isRepoId(id),
      ({ id }) => usage('E_HUB_NAME', `${id} is no name on the Hub`, { expected: 'owner/name', actual: id }),
    ),
  );

/** Whether a request that makes something found it there, which is as good. */
const isThere = (error: unknown): boolean => statusOf(error) === 409;

/** Makes the repository, and its branch, where they are not there. `E_HUB_DENIED` where the token may not. */
export const makeRepo = (
  repo: Repo,
  // Absent: as its owner's settings have it. One that is there stays as it is.
  { isPrivate }: { readonly isPrivate?: boolean | undefined },
  settings: HubSettings,
): TaskEither<FatalError, void> => {
  const what = repoTitle(repo);
  const call = { ...asking(what, settings), repo: { type: 'model', name: repo.id } } as const;
  return pipe(
    library,
    TE.flatMap((hub) =>
      TE.tryCatch(async () => {
        await hub
          .createRepo({ ...call, ...(isPrivate === undefined ? {} : { visibility: isPrivate ? 'private' : 'public' }) })
          .catch(async (error: unknown) => {
            // A token that may write to this one repository may make none.
            if (!isThere(error) && !(statusOf(error) === 403 && (await hub.repoExists(call)))) throw error;
          });
        if (repo.revision === 'main') return;
        await hub.createBranch({ ...call, branch: repo.revision }).catch((error: unknown) => {
          if (!isThere(error)) throw error;
        });
      }, refusal(what)),
    ),
  );
};

/** Adds files, or puts them in the place of those of the same names, in one commit. */
export const commitFiles = (
  repo: Repo,
  { title, files, signal }: CommitOptions,
  settings: HubSettings,
): TaskEither<FatalError, HubCommit> => {
  const what = repoTitle(repo);
  return pipe(
    library,
    TE.flatMap((hub) =>
      TE.tryCatch(async () => {
        for (const { path, file } of files) {
          const { size } = await stat(file).catch((error: unknown) => {
            throw fileError(file, error);
          });
          settings.onUpload?.({ repo: repo.id, path, bytes: size });
        }
        const made = await hub.uploadFiles({
          ...asking(what, settings),
          repo: { type: 'model', name: repo.id },
          branch: repo.revision,
          commitTitle: title,
          files: files.map(({ path, file }) => ({ path, content: pathToFileURL(file) })),
          ...(signal === undefined ? {} : { abortSignal: signal }),
        });
        if (made === undefined) throw fatal('E_HUB_ANSWER', `${what}: the Hub tells no commit`);
        return made.commit;
      }, refusal(what)),
    ),
  );
};
