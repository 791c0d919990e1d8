/** Checkpoint directories `checkpoint-N` of a run: listed, verified, kept in number. What lies in them is the trainer's affair. */
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { fileError } from '../files/byteSource.js';
import {
  isDirectory,
  removeDirectoryAtomically,
  verifyDirectory,
  writeDirectoryAtomically,
} from '../files/directory.js';

/** A directory `checkpoint-N` of a run. */
export interface Checkpoint {
  /** Optimizer steps done. */
  readonly step: number;
  /** Its path. */
  readonly dir: string;
}

export const checkpointName = (step: number): string => `checkpoint-${step}`;

/** The step of a checkpoint's name, or undefined for any other name. */
export const stepOfCheckpoint = (name: string): number | undefined => {
  const [, digits] = /^checkpoint-(0|[1-9]\d{0,14})$/.exec(name) ?? [];
  return digits === undefined ? undefined : Number(digits);
};

/** The checkpoints in a run's directory, oldest first; none when the directory is not there yet. */
export const listCheckpoints = (outputDir: string): TaskEither<FatalError, ReadonlyArray<Checkpoint>> =>
  TE.tryCatch(
    async () => {
      const names = (await isDirectory(outputDir)) ? await readdir(outputDir) : [];
      const found: Array<Checkpoint> = [];
      for (const name of names) {
        const step = stepOfCheckpoint(name);
        const dir = join(outputDir, name);
        if (step !== undefined && (await isDirectory(dir))) found.push({ step, dir });
      }
      return found.toSorted((a, b) => a.step - b.step);
    },
    (error) => fileError(outputDir, error),
  );

/** Writes `checkpoint-N` whole or not at all: see `writeDirectoryAtomically`. */
export const writeCheckpoint = (
  outputDir: string,
  step: number,
  write: (temporary: string) => TaskEither<FatalError, unknown>,
): TaskEither<FatalError, Checkpoint> => {
  const dir = join(outputDir, checkpointName(step));
  return TE.map(() => ({ step, dir }))(writeDirectoryAtomically(dir, write));
};

/** What `newestCheckpoint` found. */
export interface NewestCheckpoint {
  /** The newest one whose files are all as they were written; undefined when there is none. */
  readonly checkpoint?: Checkpoint;
  /** One for each newer checkpoint that was passed over, and why. */
  readonly warnings: ReadonlyArray<Warning>;
}

/**
 * The newest checkpoint of a run's directory that is whole. Damaged ones, found by their checksums, are passed over, saying so
 * (`W_CHECKPOINT_SKIPPED`).
 */
export const newestCheckpoint = (outputDir: string): TaskEither<FatalError, NewestCheckpoint> =>
  TE.flatMap((checkpoints: ReadonlyArray<Checkpoint>) => async () => {
    const warnings: Array<Warning> = [];
    for (const checkpoint of checkpoints.toReversed()) {
      const verified = await verifyDirectory(checkpoint.dir)();
      if (E.isRight(verified)) return E.right({ checkpoint, warnings });
      const { file, expected, actual } = verified.left.details;
      warnings.push(
        warning('W_CHECKPOINT_SKIPPED', `${checkpoint.dir} is damaged and passed over: ${verified.left.message}`, {
          file: file ?? checkpoint.dir,
          ...(expected === undefined ? {} : { expected }),
          ...(actual === undefined ? {} : { actual }),
        }),
      );
    }
    return E.right({ warnings });
  })(listCheckpoints(outputDir));

export interface Rotation {
  /** Checkpoints to keep; all when absent or below 1. */
  readonly limit?: number;
  /** Step of the best one, which is kept whatever its age. It counts as one of `limit`, but the newest is always kept, too. */
  readonly best?: number;
  /**
   * Step of the one just written, which is the newest: those of later steps were left by a run that began here before, and go
   * first. Default: the highest step.
   */
  readonly written?: number;
}

/** The steps whose checkpoints have to go, oldest first (`save_total_limit` of transformers). */
export const outdated = (steps: ReadonlyArray<number>, rotation: Rotation): ReadonlyArray<number> => {
  const { limit, best, written = Infinity } = rotation;
  if (limit === undefined || limit < 1) return [];
  const earlier = ({ step }: { readonly step: number }): boolean => step <= written;
  const sorted = steps.toSorted((a, b) => a - b).map((step) => ({ step }));
  const ascending = [...sorted.filter((one) => !earlier(one)), ...sorted.filter(earlier)].map(({ step }) => step);
  const others = ascending.filter((step) => step !== best);
  const newestIsBest = ascending[ascending.length - 1] === best;
  const bestCounts = others.length < ascending.length ? 1 : 0;
  const kept = Math.max(limit - bestCounts, newestIsBest ? 0 : 1);
  return others.slice(0, Math.max(0, others.length - kept));
};

/** Removes the checkpoints that `outdated` names. Resolves to what was removed. */
export const rotateCheckpoints = (
  outputDir: string,
  rotation: Rotation,
): TaskEither<FatalError, ReadonlyArray<Checkpoint>> =>
  TE.flatMap((checkpoints: ReadonlyArray<Checkpoint>) => {
    const doomed = outdated(
      checkpoints.map(({ step }) => step),
      rotation,
    );
    const going = checkpoints.filter(({ step }) => doomed.includes(step));
    return TE.map(() => going)(TE.traverseSeqArray(({ dir }: Checkpoint) => removeDirectoryAtomically(dir))(going));
  })(listCheckpoints(outputDir));
