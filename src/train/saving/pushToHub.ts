/** A directory's model, uploaded to the Hugging Face Hub. */
import { join } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import { usage, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { adapterConfigFile } from '../../formats/checkpoints/adapterConfig.js';
import { filesBelow } from '../../formats/files/directory.js';
import { isRepoId, repoTitle } from '../../formats/hub/repo.js';
import { hubSettings, hubSettingNames } from '../../formats/hub/settings.js';
import type { HubSettings } from '../../formats/hub/settings.js';
import { commitFiles, makeRepo, repoToWrite } from '../../formats/hub/uploading.js';
import type { HubCommit } from '../../formats/hub/uploading.js';
import { isJsonRecord } from '../../formats/json/jsonRecord.js';
import { readJson } from '../../formats/json/json.js';
import { pushedFiles } from './pushedFiles.js';

/** How a directory is uploaded. */
export interface PushOptions {
  /** Whether a repository that is made for it is to be seen by nobody else. Default: as its owner's settings have it. */
  readonly private?: boolean | undefined;
  /** Default `Upload model`. */
  readonly commitMessage?: string | undefined;
  /** Where the Hub is, and the token; what is left out is as the environment says (`HF_ENDPOINT`, `HF_TOKEN`, …). */
  readonly hub?: Partial<HubSettings> | undefined;
}

const pushOptionNames: OptionNames<PushOptions> = {
  private: 'optional',
  commitMessage: 'optional',
  hub: hubSettingNames,
};

/** What was uploaded. */
export interface Pushed {
  /** `owner/name`, with `@branch` where it is not `main`. */
  readonly repo: string;
  readonly commit: HubCommit;
  /** As paths within the directory. */
  readonly files: ReadonlyArray<string>;
  readonly warnings: ReadonlyArray<Warning>;
}

/** An adapter that names a directory of this machine as its base is of no use elsewhere. */
export const localBase = (dir: string, paths: ReadonlyArray<string>): TaskEither<FatalError, ReadonlyArray<Warning>> =>
  paths.includes(adapterConfigFile)
    ? TE.map((read: unknown): ReadonlyArray<Warning> => {
        const base = isJsonRecord(read) ? read['base_model_name_or_path'] : undefined;
        if (typeof base === 'string' && isRepoId(base) && base.includes('/')) return [];
        return [
          warning('W_BASE_NOT_ON_HUB', 'the adapter does not name a model on the Hub as its base', {
            file: join(dir, adapterConfigFile),
            field: 'base_model_name_or_path',
            expected: 'owner/name',
            actual: JSON.stringify(base),
            hint: 'who loads it elsewhere has to name the base model; train from the name on the Hub, or set it there',
          }),
        ];
      })(readJson(join(dir, adapterConfigFile)))
    : TE.right([]);

/**
 * Uploads what a run, `saveModel` or `exportGguf` wrote into a directory, in one commit, by `@huggingface/hub`, which has to be installed.
 * `name` is `owner/name`, or `name` for a repository of one's own; `@branch` behind it. Repository and branch are made where they are not
 * there. Checkpoints, logs and names that begin with `.` or `_` stay here.
 *
 *     await orThrow(pushToHub('owner/name', './out', { private: true }));
 *
 * Errors: `E_HUB_PACKAGE`, `E_HUB_TOKEN`, `E_HUB_OFFLINE`, `E_HUB_NAME`, `E_HUB_DENIED`, `E_HUB_UNREACHABLE`, `E_HUB_ANSWER`, and
 * `E_NO_FILE` where there is nothing to upload.
 */
export const pushToHub = checked(
  'pushToHub',
  TE.left,
  { 2: pushOptionNames },
  (name: string, dir: string, options: PushOptions = {}): TaskEither<FatalError, Pushed> => {
    const settings = hubSettings(process.env, options.hub);
    return pipe(
      filesBelow(dir),
      TE.map(pushedFiles),
      TE.filterOrElse(
        (paths) => paths.length > 0,
        () => usage('E_NO_FILE', `${dir} holds nothing to upload`, { file: dir, expected: 'files of a model' }),
      ),
      TE.bindTo('files'),
      TE.bind('warnings', ({ files }) => localBase(dir, files)),
      TE.bind('repo', () => repoToWrite(name, settings)),
      TE.tap(({ repo }) => makeRepo(repo, { isPrivate: options.private }, settings)),
      TE.bind('commit', ({ repo, files }) =>
        commitFiles(
          repo,
          {
            title: options.commitMessage ?? 'Upload model',
            files: files.map((path) => ({ path, file: join(dir, path) })),
          },
          settings,
        ),
      ),
      TE.map(({ repo, ...pushed }) => ({ ...pushed, repo: repoTitle(repo) })),
    );
  },
);
