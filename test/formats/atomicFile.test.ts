/** Writing all of it, where the system takes less at a time. */
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { render } from '../../src/errors.js';
import { writeFully, writeTextAtomically } from '../../src/formats/files/atomicFile.js';
import { inTemporary } from '../cli/rxtune.js';

/** A handle that takes three bytes a call, and what came of it. */
const slowHandle = (): { readonly handle: FileHandle; readonly calls: Array<readonly [string, number | null]> } => {
  const calls: Array<readonly [string, number | null]> = [];
  const write = (bytes: Uint8Array, offset: number, length: number, position: number | null) => {
    const taken = Math.min(3, length);
    calls.push([Buffer.from(bytes.subarray(offset, offset + taken)).toString(), position]);
    return Promise.resolve({ bytesWritten: taken, buffer: bytes });
  };
  return { calls, handle: { write } as unknown as FileHandle };
};

test('every byte is written, each in its place', async () => {
  const { handle, calls } = slowHandle();
  await writeFully(handle, Buffer.from('abcdefgh'));
  expect(calls).toEqual([
    ['abc', null],
    ['def', null],
    ['gh', null],
  ]);
  calls.length = 0;
  await writeFully(handle, Buffer.from('abcd'), 10);
  expect(calls).toEqual([
    ['abc', 10],
    ['d', 13],
  ]);
});

test('where a file is to be written a missing directory is told, not a missing file', () =>
  inTemporary(async (directory) => {
    const outcome = await writeTextAtomically(join(directory, 'none', 'rows.jsonl'), 'x')();
    expect(E.isLeft(outcome) && render(outcome.left)).toMatch(
      /rows\.jsonl cannot be written: there is no directory .*none that takes it \[E_NO_FILE\]$/,
    );
  }));
