/**
 * One file of prepared rows: a signature, frames of rows, and a last frame that says what became of the rest. Every frame carries a
 * checksum; only a file that ends with its last frame and holds as many rows as that says is whole.
 */
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { deserialize, serialize } from 'node:v8';
import { crc32 } from 'node:zlib';
import { writeFully } from '../../../formats/files/atomicFile.js';
import type { Labelled } from '../../../records.js';
import type { PrepareSummary } from '../prepare.js';
import type { Happening } from './happenings.js';
import { countRows, decodeRows, encodeRows } from './rowBlock.js';

/** What is kept of preparing, beside the rows. */
export interface Remains {
  readonly summary: PrepareSummary;
  readonly happenings: ReadonlyArray<Happening>;
  /** In the order of their numbers. */
  readonly roles: ReadonlyArray<string>;
  readonly files: ReadonlyArray<string>;
}

const signature = new TextEncoder().encode('rxtune prepared rows 1\n\0');

/** Kind, checksum, length of the body in two halves: four 32-bit numbers. */
const frameHead = 16;
const kinds = { rows: 1, remains: 2 } as const;

/** Rows a frame holds at most, and tokens after which no more rows are put into it. */
const rowsAFrame = 4096;
const tokensAFrame = 1 << 20;

const half = 2 ** 32;

const checksum = (head: DataView, body: Uint8Array): number => {
  // Kind and length are covered too: the checksum's own place stands empty.
  const covered = Uint32Array.of(head.getUint32(0, true), head.getUint32(8, true), head.getUint32(12, true));
  return crc32(body, crc32(covered));
};

const writeFrame = async (handle: FileHandle, kind: number, body: Uint8Array): Promise<number> => {
  const head = new DataView(new ArrayBuffer(frameHead));
  head.setUint32(0, kind, true);
  head.setUint32(8, body.length % half, true);
  head.setUint32(12, Math.floor(body.length / half), true);
  head.setUint32(4, checksum(head, body), true);
  await writeFully(handle, new Uint8Array(head.buffer));
  await writeFully(handle, body);
  return frameHead + body.length;
};

export interface EntryWriter {
  readonly add: (rows: ReadonlyArray<Labelled>) => Promise<void>;
  readonly finish: (remains: Remains) => Promise<void>;
  /** Bytes written so far. */
  readonly bytes: () => number;
}

export const entryWriter = (handle: FileHandle): EntryWriter => {
  let held: Array<Labelled> = [];
  let tokens = 0;
  let bytes = 0;
  const release = async (): Promise<void> => {
    const rows = held;
    [held, tokens] = [[], 0];
    bytes += await writeFrame(handle, kinds.rows, encodeRows(rows));
  };
  const begun = async (): Promise<void> => {
    if (bytes > 0) return;
    bytes = signature.length;
    await writeFully(handle, signature);
  };
  return {
    add: async (rows) => {
      await begun();
      for (const row of rows) {
        held.push(row);
        tokens += row.inputIds.length;
        if (held.length >= rowsAFrame || tokens >= tokensAFrame) await release();
      }
    },
    finish: async (remains) => {
      await begun();
      if (held.length > 0) await release();
      bytes += await writeFrame(handle, kinds.remains, serialize(remains));
    },
    bytes: () => bytes,
  };
};

export interface Entry {
  readonly remains: Remains;
  /** The rows in order, a frame of them at a time. */
  readonly rows: () => AsyncIterable<ReadonlyArray<Labelled>>;
  readonly close: () => Promise<void>;
}

const readFully = async (handle: FileHandle, at: number, length: number): Promise<ArrayBuffer> => {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const { bytesRead } = await handle.read(bytes, done, Math.min(1 << 30, length - done), at + done);
    if (bytesRead === 0) throw new Error('it ends too early');
    done += bytesRead;
  }
  return bytes.buffer;
};

interface Frame {
  readonly kind: number;
  readonly body: ArrayBuffer;
}

async function* framesOf(handle: FileHandle, check: boolean): AsyncGenerator<Frame, void, undefined> {
  const { size } = await handle.stat();
  const begun = new Uint8Array(await readFully(handle, 0, Math.min(signature.length, size)));
  if (Buffer.compare(begun, signature) !== 0) throw new Error('it does not begin as it should');
  for (let at = signature.length; at < size; ) {
    const head = new DataView(await readFully(handle, at, frameHead));
    const length = head.getUint32(8, true) + head.getUint32(12, true) * half;
    // Before memory is asked for.
    if (length > size - at - frameHead) throw new Error('it ends too early');
    const body = await readFully(handle, at + frameHead, length);
    if (check && checksum(head, new Uint8Array(body)) !== head.getUint32(4, true))
      throw new Error('a checksum differs');
    yield { kind: head.getUint32(0, true), body };
    at += frameHead + length;
  }
}

async function* rowsOf(handle: FileHandle): AsyncGenerator<ReadonlyArray<Labelled>, void, undefined> {
  for await (const { kind, body } of framesOf(handle, false)) if (kind === kinds.rows) yield decodeRows(body);
}

/** Throws where a frame is not what was written, or one is missing. */
const verified = async (handle: FileHandle): Promise<Remains> => {
  let rows = 0;
  let remains: Remains | undefined;
  for await (const { kind, body } of framesOf(handle, true)) {
    if (remains !== undefined) throw new Error('it goes on after its end');
    if (kind === kinds.rows) rows += countRows(body);
    else remains = deserialize(new Uint8Array(body)) as Remains;
  }
  if (remains === undefined) throw new Error('it ends too early');
  if (remains.summary.rows !== rows) throw new Error(`it holds ${rows} rows, not ${remains.summary.rows}`);
  return remains;
};

/** The whole file looked through before any row of it is given out. Rejects where it is damaged, or not there (ENOENT). */
export const openEntry = async (path: string): Promise<Entry> => {
  const handle = await open(path, 'r');
  try {
    const remains = await verified(handle);
    return { remains, rows: () => rowsOf(handle), close: () => handle.close() };
  } catch (error) {
    await handle.close();
    throw error;
  }
};
