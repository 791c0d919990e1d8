/** Which rows files give: their names, every byte of them, and how they are read. */
import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { readBytes } from '../files/byteSource.js';
import { identified } from '../identity.js';
import type { Tell } from '../identity.js';
import { findFile, lookedFor } from './presence.js';
import { flattened } from './sourced.js';
import type { Chunks, Sourced } from './sourced.js';

/** What is read, and the name that its rows and errors bear. */
export interface NamedFile {
  readonly name: string;
  readonly path: string;
}

type Plain = string | number | boolean | ReadonlyArray<string> | undefined;
/** Options that JSON can hold: anything else in them would go unseen. */
export type PlainOptions<O> = { readonly [K in keyof O]: Plain };

/** Changes whenever the file does; undefined for what can be read only once (pipes) or is not there. */
const stampOf = async ({ path }: NamedFile): Promise<string | undefined> => {
  const found = await stat(path, { bigint: true }).catch(() => undefined);
  if (found?.isFile() !== true) return undefined;
  const { dev, ino, size, mtimeNs, ctimeNs } = found;
  return [dev, ino, size, mtimeNs, ctimeNs].join();
};

const stampsOf = async (files: ReadonlyArray<NamedFile>): Promise<string | undefined> => {
  const stamps = await Promise.all(files.map(stampOf));
  return stamps.includes(undefined) ? undefined : JSON.stringify([files, stamps]);
};

const sha256Of = async (path: string): Promise<string> => {
  const hash = createHash('sha256');
  for await (const chunk of readBytes(path, { chunkBytes: 1 << 20, raw: true })) hash.update(chunk);
  return hash.digest('hex');
};

/** `find` is asked again to see whether they are still the same files. */
export const filesIdentity =
  <O extends PlainOptions<O>>(find: () => Promise<ReadonlyArray<NamedFile>>, reader: string, options: O): Tell =>
  async () => {
    const files = await find();
    // Before they are read: what changes while they are is seen afterwards.
    const stamps = await stampsOf(files);
    if (stamps === undefined) return undefined;
    const contents: Array<readonly [name: string, path: string, sha256: string]> = [];
    for (const { name, path } of files) contents.push([name, path, await sha256Of(path)]);
    return { told: { reader, options, files: contents }, holds: async () => (await stampsOf(await find())) === stamps };
  };

/** The rows of one file one by one, known by its bytes. */
export const rowsOfFile = <O extends PlainOptions<O>>(
  chunks: Chunks,
  file: string,
  reader: string,
  options: O,
): AsyncIterable<Sourced> =>
  lookedFor(
    identified(
      flattened(chunks),
      filesIdentity(() => Promise.resolve([{ name: file, path: file }]), reader, options),
    ),
    () => findFile(file),
  );
