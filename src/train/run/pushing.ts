/** What a run uploads to the Hub: its checkpoints while it goes on, as `hubStrategy` says, and what it comes to. */
import { copyFile, link, mkdir } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { removeTemporary, temporaryBeside } from '../../formats/files/atomicFile.js';
import { fileError } from '../../formats/files/byteSource.js';
import { filesBelow } from '../../formats/files/directory.js';
import { repoTitle } from '../../formats/hub/repo.js';
import type { Repo } from '../../formats/hub/repo.js';
import { hubSettings } from '../../formats/hub/settings.js';
import type { HubSettings } from '../../formats/hub/settings.js';
import { commitFiles, makeRepo, repoToWrite } from '../../formats/hub/uploading.js';
import type { FileToCommit } from '../../formats/hub/uploading.js';
import type { SftConfig } from '../options/config.js';
import { modelOfCheckpoint, pushedFiles } from '../saving/pushedFiles.js';
import { localBase } from '../saving/pushToHub.js';
import type { CheckpointToPush, Pusher, PushNews } from './pusher.js';

/** What a run is given of it. */
interface HubOfSetup {
  readonly hub?: Partial<HubSettings> | undefined;
}

/** The repository that the options name. */
const repoNamed = ({ hubModelId, hubRevision, outputDir = '.' }: SftConfig): string =>
  `${hubModelId ?? basename(resolve(outputDir))}${hubRevision === undefined ? '' : `@${hubRevision}`}`;

const settingsOf = ({ hub }: HubOfSetup): HubSettings => hubSettings(process.env, hub);

/** Whether a run that is to upload could. Errors are those of `pushToHub`, before there is anything to upload. */
export const pushable = (setup: HubOfSetup, config: SftConfig): TaskEither<FatalError, unknown> =>
  config.pushToHub ? repoToWrite(repoNamed(config), settingsOf(setup)) : TE.right(undefined);

/** The same files under another directory, though the first goes: a checkpoint may be the oldest, and removed, while it is uploaded. */
const linked = (from: string, to: string): TaskEither<FatalError, ReadonlyArray<string>> =>
  pipe(
    filesBelow(from),
    TE.tap((paths) =>
      TE.tryCatch(
        async () => {
          for (const path of paths) {
            const file = join(to, path);
            await mkdir(dirname(file), { recursive: true });
            await link(join(from, path), file).catch(() => copyFile(join(from, path), file));
          }
        },
        (cause) => fileError(from, cause),
      ),
    ),
  );

const inFolder = (folder: string, paths: ReadonlyArray<string>, within = ''): ReadonlyArray<FileToCommit> =>
  paths.map((path) => ({ path: within === '' ? path : `${within}/${path}`, file: join(folder, path) }));

/** The commits of a checkpoint that lies in `folder`: the model at the top, and the whole of it in a folder where it is to be gone on from. */
const commitsOf = (
  { dir, title }: CheckpointToPush,
  folder: string,
  paths: ReadonlyArray<string>,
  { hubStrategy }: SftConfig,
): ReadonlyArray<{ readonly title: string; readonly files: ReadonlyArray<FileToCommit> }> => [
  { title, files: inFolder(folder, modelOfCheckpoint(paths)) },
  ...(hubStrategy === 'checkpoint' || hubStrategy === 'all_checkpoints'
    ? [
        {
          title: `${title}, checkpoint`,
          files: inFolder(folder, paths, hubStrategy === 'checkpoint' ? 'last-checkpoint' : basename(dir)),
        },
      ]
    : []),
];

/** Of an upload at the end: what is on this disk stays there, and can be uploaded again. */
const atEnd =
  (outputDir: string, repo: Repo) =>
  ({ code, message, details }: FatalError): FatalError =>
    fatal(code, `the model is saved, and its upload failed: ${message}`, {
      ...details,
      file: outputDir,
      hint: `${details.hint === undefined ? '' : `${details.hint}; `}rxtune push --dir ${outputDir} --hub-model-id ${repoTitle(repo)} uploads it again`,
    });

/** The repository made, and what fills it. Undefined where nothing is to be uploaded. */
export const makePusher = (setup: HubOfSetup, config: SftConfig): TaskEither<FatalError, Pusher | undefined> => {
  const { outputDir } = config;
  if (!config.pushToHub || outputDir === undefined) return TE.right(undefined);
  const settings = settingsOf(setup);
  return pipe(
    repoToWrite(repoNamed(config), settings),
    TE.tap((repo) => makeRepo(repo, { isPrivate: config.hubPrivateRepo }, settings)),
    TE.map((repo) => pusherTo(repo, outputDir, config, settings)),
  );
};

const pusherTo = (repo: Repo, outputDir: string, config: SftConfig, settings: HubSettings): Pusher => {
  const { hubStrategy, hubAlwaysPush } = config;
  const leaving = new AbortController();
  let news: ReadonlyArray<PushNews> = [];
  let underWay: Promise<void> | undefined;
  /** The newest checkpoint, where it is not on the Hub and in no upload that is under way. */
  let passedOver: CheckpointToPush | undefined;

  const commit = (title: string, files: ReadonlyArray<FileToCommit>, step: number): TaskEither<FatalError, void> =>
    pipe(
      commitFiles(repo, { title, files, signal: leaving.signal }, settings),
      TE.map((made) => {
        news = [...news, { kind: 'pushed', pushed: { repo: repoTitle(repo), commit: made, title, step } }];
      }),
    );

  const warn = (warned: Warning): void => {
    news = [...news, { kind: 'warning', warning: warned }];
  };

  const failed =
    ({ step }: CheckpointToPush) =>
    ({ code, message, details }: FatalError): void =>
      warn(
        warning('W_HUB_PUSH', `the checkpoint of step ${step} was not uploaded: ${message}`, {
          ...details,
          actual: details.actual ?? code,
        }),
      );

  /** Uploads a checkpoint from a folder of its own, which goes when that is done. */
  const upload = async (waiting: CheckpointToPush, folder: string, paths: ReadonlyArray<string>): Promise<void> => {
    const done = await pipe(
      commitsOf(waiting, folder, paths, config),
      TE.traverseSeqArray(({ title, files }) => commit(title, files, waiting.step)),
    )();
    await removeTemporary(folder).catch(() => undefined);
    if (E.isRight(done) || leaving.signal.aborted) return;
    failed(waiting)(done.left);
    // Where it is the newest still when the run ends, it is tried once more.
    passedOver ??= waiting;
  };

  /** Begins an upload, unless not even that can be done: then the run goes on without. */
  const begin = (waiting: CheckpointToPush): TaskEither<FatalError, void> => {
    const folder = temporaryBeside(join(outputDir, 'push'));
    passedOver = undefined;
    return pipe(
      linked(waiting.dir, folder),
      TE.match(failed(waiting), (paths) => {
        const running = upload(waiting, folder, paths).finally(() => {
          if (underWay === running) underWay = undefined;
        });
        underWay = running;
      }),
      TE.fromTask,
    );
  };

  const settled = TE.fromTask(async () => underWay);

  return {
    repoId: repo.id,
    checkpoint: (waiting) => {
      if (hubStrategy === 'end') return TE.right(undefined);
      passedOver = waiting;
      if (underWay === undefined) return begin(waiting);
      return hubAlwaysPush
        ? pipe(
            settled,
            TE.flatMap(() => begin(waiting)),
          )
        : TE.right(undefined);
    },
    end: ({ left, step }) =>
      pipe(
        settled,
        TE.flatMap(() =>
          passedOver !== undefined && (left || hubStrategy !== 'every_save') ? begin(passedOver) : TE.right(undefined),
        ),
        TE.flatMap(() => settled),
        TE.flatMap(() => (left ? TE.right([]) : TE.map(pushedFiles)(filesBelow(outputDir)))),
        TE.tap((paths) =>
          pipe(
            localBase(outputDir, paths),
            TE.map((warnings) => warnings.forEach(warn)),
          ),
        ),
        TE.flatMap((paths) =>
          paths.length === 0 ? TE.right(undefined) : commit('End of training', inFolder(outputDir, paths), step),
        ),
        TE.mapLeft(atEnd(outputDir, repo)),
      ),
    news: () => {
      const all = news;
      news = [];
      return all;
    },
    abort: () => leaving.abort(),
  };
};
