import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import {
  checkpointName,
  listCheckpoints,
  newestCheckpoint,
  outdated,
  rotateCheckpoints,
  stepOfCheckpoint,
  writeCheckpoint,
} from '../../src/formats/checkpoints/checkpoint.js';
import {
  manifestFile,
  removeLeftovers,
  verifyDirectory,
  writeDirectoryAtomically,
  writeInto,
} from '../../src/formats/files/directory.js';
import { temporaryBeside, writeTextAtomically } from '../../src/formats/files/atomicFile.js';
import { fileIn, temporaryDirectory } from './temporary.js';

const root = temporaryDirectory();
let made = 0;
const fresh = (): string => join(root, `run-${made++}`);

const right = async <A>(task: TaskEither<FatalError, A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const left = async (task: TaskEither<FatalError, unknown>): Promise<FatalError> => {
  const result = await task();
  if (E.isRight(result)) throw new Error('no error');
  return result.left;
};
const filling =
  (content: string) =>
  (dir: string): TaskEither<FatalError, unknown> => {
    mkdirSync(join(dir, 'deep'));
    return TE.flatMap(() => writeTextAtomically(join(dir, 'deep', 'b.gz'), 'not really packed'))(
      writeTextAtomically(join(dir, 'a.txt'), content),
    );
  };
const failing = (dir: string): TaskEither<FatalError, unknown> =>
  TE.flatMap(() => TE.left(fatal('E_TEST', 'failed half-way')))(filling('half')(dir));

describe('directories', () => {
  it('appear whole, with a manifest of sizes and checksums', async () => {
    const dir = join(fresh(), 'deeper', 'd');
    await right(writeDirectoryAtomically(dir, filling('hello')));
    expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('hello');
    expect((await right(verifyDirectory(dir))).files).toEqual({
      'a.txt': { bytes: 5, sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824' },
      'deep/b.gz': { bytes: 17, sha256: expect.any(String) as unknown },
    });
    expect(readdirSync(join(dir, '..'))).toEqual(['d']);
  });

  it('are left as they were when writing fails', async () => {
    const run = fresh();
    const dir = join(run, 'd');
    expect((await left(writeDirectoryAtomically(dir, failing))).code).toBe('E_TEST');
    expect(readdirSync(run)).toEqual([]);
    await right(writeDirectoryAtomically(dir, filling('old')));
    expect((await left(writeDirectoryAtomically(dir, failing))).code).toBe('E_TEST');
    expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('old');
    await right(writeDirectoryAtomically(dir, filling('new')));
    expect(readFileSync(join(dir, 'a.txt'), 'utf8')).toBe('new');
    expect(readdirSync(run)).toEqual(['d']);
  });

  it('cannot be made below a file', async () => {
    const run = fresh();
    mkdirSync(run);
    const file = fileIn(run, 'file', 'x');
    expect((await left(writeDirectoryAtomically(join(file, 'd'), filling('x'))))._tag).toBe('FatalError');
    expect((await left(writeInto(join(file, 'd'), filling('x'))))._tag).toBe('FatalError');
  });

  it('that are cut, changed or without manifest are found out', async () => {
    const dir = join(fresh(), 'd');
    const remade = (): Promise<void> => right(writeDirectoryAtomically(dir, filling('hello')));
    await remade();
    writeFileSync(join(dir, 'a.txt'), 'hellO');
    expect(await left(verifyDirectory(dir))).toMatchObject({
      code: 'E_DIRECTORY_CORRUPT',
      details: { file: join(dir, 'a.txt') },
    });
    await remade();
    writeFileSync(join(dir, 'a.txt'), 'hell');
    expect((await left(verifyDirectory(dir))).code).toBe('E_DIRECTORY_CORRUPT');
    await remade();
    rmSync(join(dir, 'deep', 'b.gz'));
    expect(await left(verifyDirectory(dir))).toMatchObject({
      code: 'E_DIRECTORY_INCOMPLETE',
      details: { file: join(dir, 'deep/b.gz') },
    });
    await remade();
    writeFileSync(join(dir, manifestFile), '{"files": ');
    expect((await left(verifyDirectory(dir))).code).toBe('E_INVALID_JSON');
    writeFileSync(join(dir, manifestFile), '{"files": {"a.txt": 3}}');
    expect((await left(verifyDirectory(dir))).code).toBe('E_DIRECTORY_CORRUPT');
    rmSync(join(dir, manifestFile));
    expect((await left(verifyDirectory(dir))).code).toBe('E_DIRECTORY_INCOMPLETE');
    expect((await left(verifyDirectory(join(root, 'nowhere')))).code).toBe('E_NO_FILE');
  });

  it('of killed runs are cleared away, those of running ones are not', async () => {
    const run = fresh();
    mkdirSync(join(run, '.checkpoint-5.999999999-0.tmp'), { recursive: true });
    const running = [`.checkpoint-6.${process.ppid}-0.tmp`, basename(temporaryBeside(join(run, 'checkpoint-7')))];
    // In a container the process after a restart often has the number of the one before.
    mkdirSync(join(run, `.checkpoint-8.${process.pid}-0.tmp`));
    for (const name of [...running, '.git']) mkdirSync(join(run, name));
    expect((await right(removeLeftovers(run))).toSorted()).toEqual(
      ['.checkpoint-5.999999999-0.tmp', `.checkpoint-8.${process.pid}-0.tmp`].toSorted(),
    );
    expect(readdirSync(run).toSorted()).toEqual([...running, '.git'].toSorted());
  });

  it('that were moved aside and not replaced are put back', async () => {
    const run = fresh();
    const [gone, there] = [join(run, 'checkpoint-5'), join(run, 'checkpoint-6')];
    for (const dir of [gone, there]) {
      await right(writeDirectoryAtomically(dir, filling('old')));
      renameSync(dir, `${run}/.${basename(dir)}.999999999-0.old.tmp`);
    }
    await right(writeDirectoryAtomically(there, filling('new')));
    await right(removeLeftovers(run));
    expect(readdirSync(run).toSorted()).toEqual(['checkpoint-5', 'checkpoint-6']);
    expect(readFileSync(join(gone, 'a.txt'), 'utf8')).toBe('old');
    expect(readFileSync(join(there, 'a.txt'), 'utf8')).toBe('new');
  });

  it('take files in without losing what is there', async () => {
    const run = fresh();
    mkdirSync(run);
    fileIn(run, 'kept', 'x');
    expect((await left(writeInto(run, failing))).code).toBe('E_TEST');
    expect(readdirSync(run)).toEqual(['kept']);
    expect(await right(writeInto(run, filling('new')))).toEqual(['a.txt', 'deep/b.gz']);
    expect(readdirSync(run).toSorted()).toEqual(['a.txt', 'deep', 'kept']);
  });
});

describe('checkpoints', () => {
  it('are named by their step', () => {
    expect(checkpointName(12)).toBe('checkpoint-12');
    expect(stepOfCheckpoint('checkpoint-12')).toBe(12);
    for (const name of [
      'checkpoint-',
      'checkpoint-1a',
      'checkpoint--1',
      'xcheckpoint-1',
      'checkpoint-01',
      'checkpoint-1.tmp',
    ]) {
      expect(stepOfCheckpoint(name)).toBeUndefined();
    }
  });

  it('are listed by step, not by name', async () => {
    const run = fresh();
    expect(await right(listCheckpoints(run))).toEqual([]);
    for (const step of [100, 20, 3]) await right(writeCheckpoint(run, step, filling(`${step}`)));
    fileIn(run, 'checkpoint-7', 'a file');
    expect((await right(listCheckpoints(run))).map(({ step }) => step)).toEqual([3, 20, 100]);
  });

  it('that are damaged give way to the one before, saying so', async () => {
    const run = fresh();
    expect(await right(newestCheckpoint(run))).toEqual({ warnings: [] });
    for (const step of [5, 10, 15]) await right(writeCheckpoint(run, step, filling(`${step}`)));
    expect((await right(newestCheckpoint(run))).checkpoint?.step).toBe(15);
    writeFileSync(join(run, 'checkpoint-15', 'a.txt'), '1');
    rmSync(join(run, 'checkpoint-10', manifestFile));
    const { checkpoint, warnings } = await right(newestCheckpoint(run));
    expect(checkpoint).toEqual({ step: 5, dir: join(run, 'checkpoint-5') });
    expect(warnings.map(({ code }) => code)).toEqual(['W_CHECKPOINT_SKIPPED', 'W_CHECKPOINT_SKIPPED']);
    expect(warnings.map(render).join('\n')).toMatch(/checkpoint-15 is damaged[^]*checkpoint-10 is damaged/);
  });

  it('are kept in number', async () => {
    expect(outdated([1, 2, 3, 4], {})).toEqual([]);
    expect(outdated([4, 2, 3, 1], { limit: 2 })).toEqual([1, 2]);
    expect(outdated([1, 2, 3, 4], { limit: 2, best: 1 })).toEqual([2, 3]);
    expect(outdated([1, 2, 3, 4], { limit: 1, best: 2 })).toEqual([1, 3]);
    expect(outdated([1, 2, 3, 4], { limit: 1, best: 4 })).toEqual([1, 2, 3]);
    expect(outdated([1, 2, 3, 4], { limit: 2, best: 4 })).toEqual([1, 2]);
    expect(outdated([1, 2], { limit: 1, best: 9 })).toEqual([1]);
    // What an earlier run left beyond the newest goes before anything of this one.
    expect(outdated([10, 20, 150, 160], { limit: 3, written: 20 })).toEqual([150]);
    expect(outdated([10, 20, 150, 160], { limit: 1, written: 20 })).toEqual([150, 160, 10]);
    const run = fresh();
    for (const step of [5, 10, 15]) await right(writeCheckpoint(run, step, filling(`${step}`)));
    expect((await right(rotateCheckpoints(run, { limit: 1 }))).map(({ step }) => step)).toEqual([5, 10]);
    expect(readdirSync(run)).toEqual(['checkpoint-15']);
    expect(existsSync(join(run, 'checkpoint-15', 'a.txt'))).toBe(true);
  });
});
