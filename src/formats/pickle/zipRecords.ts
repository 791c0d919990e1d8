/** The records of a zip archive that are stored as they are (https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT). */
import type { FileHandle } from 'node:fs/promises';
import { fatal } from '../../errors.js';
import { strictUtf8 } from '../files/utf8.js';
import { readFully } from '../tensors/storedTensor.js';
import { quoted } from './values.js';

/** Bytes [start, end) of the file. */
export interface ZipRecord {
  readonly name: string;
  readonly start: number;
  readonly end: number;
}

const signature = {
  entry: 0x02014b50,
  local: 0x04034b50,
  end: 0x06054b50,
  end64: 0x06064b50,
  locator64: 0x07064b50,
} as const;
const sizeOf = { entry: 46, local: 30, end: 22, end64: 56, locator64: 20 } as const;
/** In a 16- or 32-bit field: see the 64-bit one. */
const [elsewhere16, elsewhere32] = [0xffff, 0xffffffff];
/** A comment at the end is at most so long. */
const mostComment = 0xffff;
const mostDirectory = 100_000_000;

/** The 64-bit fields of an entry, in this order, those that are marked as lying there. */
const extended = (extra: DataView, fields: ReadonlyArray<number>, absent: () => never): ReadonlyArray<number> => {
  const wanted = fields.filter((field) => field === elsewhere32).length;
  if (wanted === 0) return fields;
  for (let at = 0; at + 4 <= extra.byteLength; ) {
    const size = extra.getUint16(at + 2, true);
    if (extra.getUint16(at, true) === 1 && size >= 8 * wanted && at + 4 + size <= extra.byteLength) {
      let next = at + 4;
      return fields.map((field) => {
        if (field !== elsewhere32) return field;
        next += 8;
        return Number(extra.getBigUint64(next - 8, true));
      });
    }
    at += 4 + size;
  }
  return absent();
};

/** All records of the archive, where their bytes lie. `E_PICKLE_ARCHIVE` for a damaged one, packed or encrypted records. */
export const zipRecords = async (
  handle: FileHandle,
  file: string,
  size: number,
): Promise<ReadonlyMap<string, ZipRecord>> => {
  const broken = (what: string): never => {
    throw fatal('E_PICKLE_ARCHIVE', `${file}: ${what}`, {
      file,
      expected: 'a zip archive as torch.save writes it',
      hint: 'copy or download the file again: it is incomplete or damaged',
    });
  };
  const viewAt = async (start: number, length: number): Promise<DataView> => {
    if (!Number.isSafeInteger(start) || start < 0 || start + length > size) broken('the archive points beyond its end');
    const bytes = await readFully(handle, file, { start, length, truncated: 'E_PICKLE_TRUNCATED' });
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  };
  const tailLength = Math.min(size, sizeOf.end + mostComment);
  const tail = await viewAt(size - tailLength, tailLength);
  let at = tailLength - sizeOf.end;
  while (at >= 0 && tail.getUint32(at, true) !== signature.end) at--;
  if (at < 0) return broken('the archive has no directory: it is cut off');
  let [count, length, start]: ReadonlyArray<number> = [
    tail.getUint16(at + 10, true),
    tail.getUint32(at + 12, true),
    tail.getUint32(at + 16, true),
  ];
  const locatorAt = size - tailLength + at - sizeOf.locator64;
  if (count === elsewhere16 || length === elsewhere32 || start === elsewhere32) {
    const locator = await viewAt(locatorAt, sizeOf.locator64);
    if (locator.getUint32(0, true) !== signature.locator64) broken('the archive lacks its 64-bit directory');
    const end = await viewAt(Number(locator.getBigUint64(8, true)), sizeOf.end64);
    if (end.getUint32(0, true) !== signature.end64) broken('the archive lacks its 64-bit directory');
    [count, length, start] = [32, 40, 48].map((field) => Number(end.getBigUint64(field, true)));
  }
  if (count === undefined || length === undefined || start === undefined || length > mostDirectory)
    return broken('the directory of the archive is too large');
  const directory = await viewAt(start, length);
  const records = new Map<string, ZipRecord>();
  let entry = 0;
  for (let i = 0; i < count; i++) {
    if (entry + sizeOf.entry > length || directory.getUint32(entry, true) !== signature.entry)
      return broken('the directory of the archive is damaged');
    const nameLength = directory.getUint16(entry + 28, true);
    const extraLength = directory.getUint16(entry + 30, true);
    const next = entry + sizeOf.entry + nameLength + extraLength + directory.getUint16(entry + 32, true);
    if (next > length) return broken('the directory of the archive is damaged');
    const named = entry + sizeOf.entry;
    const name = strictUtf8(new Uint8Array(directory.buffer, directory.byteOffset + named, nameLength));
    if (name === undefined) return broken('a record of the archive has no valid name');
    const [bytes, packed, local] = extended(
      new DataView(directory.buffer, directory.byteOffset + named + nameLength, extraLength),
      [24, 20, 42].map((field) => directory.getUint32(entry + field, true)),
      () => broken(`the size of record ${quoted(name)} is not in the archive`),
    );
    if (bytes === undefined || packed === undefined || local === undefined) return broken('a record has no size');
    const flags = directory.getUint16(entry + 8, true);
    if (directory.getUint16(entry + 10, true) !== 0 || packed !== bytes || (flags & 1) !== 0) {
      throw fatal('E_PICKLE_ARCHIVE', `${file}: record ${quoted(name)} of the archive is packed or encrypted`, {
        file,
        expected: 'records as they are, as torch.save writes them',
        hint: 'load it in Python and save it again, best with safetensors',
      });
    }
    const header = await viewAt(local, sizeOf.local);
    if (header.getUint32(0, true) !== signature.local)
      return broken(`record ${quoted(name)} is not where it should be`);
    const data = local + sizeOf.local + header.getUint16(26, true) + header.getUint16(28, true);
    if (!Number.isSafeInteger(bytes) || data + bytes > start) return broken(`record ${quoted(name)} is cut off`);
    if (records.has(name)) return broken(`two records are called ${quoted(name)}`);
    records.set(name, { name, start: data, end: data + bytes });
    entry = next;
  }
  return records;
};
