/** A model by the name its user has for it: a local directory, or a repository on the Hub. */
import { stat } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { checked } from '../../checked.js';
import { fatal, isFatal, usage } from '../../errors.js';
import { kindOf } from '../describe.js';
import type { FatalError } from '../../errors.js';
import { fetchModelFiles } from './modelFiles.js';
import type { ModelPart } from './modelFiles.js';
import { isRepoId, repoOf, repoTitle } from './repo.js';
import { hubSettings, hubSettingNames } from './settings.js';
import type { HubSettings } from './settings.js';
import { openSnapshot } from './snapshot.js';

/** Where a model was found. */
export interface Located {
  /** The directory that its files lie in. */
  readonly dir: string;
  /** For people: which of the two it is, and which commit. */
  readonly told: string;
  /** Whether it came from the Hub, or its cache. */
  readonly fromHub: boolean;
}

/** What is wanted of a model, and from where. */
export interface LocateOptions {
  /** Which files. Default `model`: all that a model is loaded from. */
  readonly part?: ModelPart | undefined;
  /** Where the Hub is and its files are kept; what is left out is as the environment says. */
  readonly hub?: Partial<HubSettings> | undefined;
}

export const thrownFatal = (cause: unknown): FatalError =>
  isFatal(cause) ? cause : fatal('E_HUB', cause instanceof Error ? cause.message : String(cause), { cause });

const isThere = async (path: string): Promise<boolean> =>
  await stat(path).then(
    () => true,
    () => false,
  );

const notHere = (name: string, error: FatalError): FatalError =>
  fatal(error.code, `${error.message}; nor is ${name} a directory here`, { ...error.details, kind: error.kind });

/**
 * The directory of a model, tokenizer or adapter. What exists here under that name is taken; else `owner/name` or
 * `owner/name@revision` (`hf://owner/name` asks for it in any case) is downloaded from the Hub into the cache that the Python
 * library uses. A name that can be neither is given back as it is: whoever reads it says what is missing.
 */
export const locateModel = checked(
  'locateModel',
  TE.left,
  { 1: { part: 'optional', hub: hubSettingNames } },
  (name: string, { part = 'model', hub = {} }: LocateOptions = {}): TaskEither<FatalError, Located> =>
    TE.tryCatch(async () => {
      // What comes from the command line or the environment of a program may not be there.
      if (typeof (name as unknown) !== 'string' || name === '')
        throw usage('E_OPTIONS', `${name === '' ? 'an empty text' : kindOf(name)} names no directory`, {
          expected: `the directory of a ${part}, or its name on the Hub: owner/name`,
        });
      const forced = name.startsWith('hf://');
      const [id = ''] = name.split('@');
      if (!forced && ((await isThere(name)) || !isRepoId(id))) {
        return { dir: name, told: `the directory ${name}`, fromHub: false };
      }
      const repo = repoOf('model', forced ? name.slice('hf://'.length).replace(/^models\//, '') : name);
      if (E.isLeft(repo)) throw repo.left;
      try {
        const snapshot = await openSnapshot(repo.right, hubSettings(process.env, hub));
        const dir = await fetchModelFiles(snapshot, part);
        const told = `${repoTitle(repo.right)} of the Hub, commit ${snapshot.commit}${snapshot.cached ? ', from the cache' : ''}`;
        return { dir, told, fromHub: true };
      } catch (error) {
        throw isFatal(error) && !forced ? notHere(name, error) : error;
      }
    }, thrownFatal),
);
