/** Writing all of it, where the system takes less at a time. */
import type { FileHandle } from 'node:fs/promises';
import { expect, test } from '@jest/globals';
import { writeFully } from '../../src/formats/files/atomicFile.js';

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
