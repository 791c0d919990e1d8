import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll } from '@jest/globals';

/** A directory that is gone when the test file is done. */
export const temporaryDirectory = (): string => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-formats-'));
  afterAll(() => rmSync(dir, { recursive: true, force: true }));
  return dir;
};

/** Writes a file into `dir` and gives its path. */
export const fileIn = (dir: string, name: string, content: string | Uint8Array): string => {
  const path = join(dir, name);
  writeFileSync(path, content);
  return path;
};

export const collected = async <A>(items: AsyncIterable<A>): Promise<ReadonlyArray<A>> => {
  const all: Array<A> = [];
  for await (const item of items) all.push(item);
  return all;
};
