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

interface Archive {
  readonly file: string;
  readonly size: number;
  readonly viewAt: (start: number, length: number) => Promise<DataView>;
}

const broken = (file: string, what: string): never => {
  throw fatal('E_PICKLE_ARCHIVE', `${file}: ${what}`, {
    file,
    expected: 'a zip archive as torch.save writes it',
    hint: 'copy or download the file again: it is incomplete or damaged',
  });
};

const archiveOf = (handle: FileHandle, file: string, size: number): Archive => ({
  file,
  size,
  viewAt: async (start, length) => {
    if (!Number.isSafeInteger(start) || start < 0 || start + length > size)
      broken(file, 'the archive points beyond its end');
    const bytes = await readFully(handle, file, { start, length, truncated: 'E_PICKLE_TRUNCATED' });
    return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  },
});

/** Where the entries of an archive are listed. */
interface Directory {
  readonly count: number;
  readonly start: number;
  readonly length: number;
}

/** What the record at the end says of the directory, found by its signature: a comment may stand behind it. */
const directoryOf = async (archive: Archive): Promise<Directory> => {
  const { file, size, viewAt } = archive;
  const tailLength = Math.min(size, sizeOf.end + mostComment);
  const tail = await viewAt(size - tailLength, tailLength);
  let at = tailLength - sizeOf.end;
  while (at >= 0 && tail.getUint32(at, true) !== signature.end) at--;
  if (at < 0) return broken(file, 'the archive has no directory: it is cut off');
  const count = tail.getUint16(at + 10, true);
  const length = tail.getUint32(at + 12, true);
  const start = tail.getUint32(at + 16, true);
  if (count !== elsewhere16 && length !== elsewhere32 && start !== elsewhere32) return { count, length, start };
  return directory64(archive, size - tailLength + at - sizeOf.locator64);
};

/** The same of an archive that is too large for those numbers, whose record lies where the one at `locatorAt` says. */
const directory64 = async ({ file, viewAt }: Archive, locatorAt: number): Promise<Directory> => {
  const locator = await viewAt(locatorAt, sizeOf.locator64);
  if (locator.getUint32(0, true) !== signature.locator64) broken(file, 'the archive lacks its 64-bit directory');
  const end = await viewAt(Number(locator.getBigUint64(8, true)), sizeOf.end64);
  if (end.getUint32(0, true) !== signature.end64) broken(file, 'the archive lacks its 64-bit directory');
  const field = (at: number): number => Number(end.getBigUint64(at, true));
  return { count: field(32), length: field(40), start: field(48) };
};

/** What the directory says of a record. */
interface Entry {
  readonly name: string;
  readonly bytes: number;
  /** Where the record's own header lies. */
  readonly local: number;
  /** Where the next entry begins. */
  readonly next: number;
}

/** The entry at a place of the directory, of a record that is stored as it is. */
const entryAt = (file: string, directory: DataView, at: number): Entry => {
  const { byteLength: length } = directory;
  if (at + sizeOf.entry > length || directory.getUint32(at, true) !== signature.entry)
    return broken(file, 'the directory of the archive is damaged');
  const nameLength = directory.getUint16(at + 28, true);
  const extraLength = directory.getUint16(at + 30, true);
  const next = at + sizeOf.entry + nameLength + extraLength + directory.getUint16(at + 32, true);
  if (next > length) return broken(file, 'the directory of the archive is damaged');
  const named = directory.byteOffset + at + sizeOf.entry;
  const name = strictUtf8(new Uint8Array(directory.buffer, named, nameLength));
  if (name === undefined) return broken(file, 'a record of the archive has no valid name');
  const [bytes, packed, local] = extended(
    new DataView(directory.buffer, named + nameLength, extraLength),
    [24, 20, 42].map((field) => directory.getUint32(at + field, true)),
    () => broken(file, `the size of record ${quoted(name)} is not in the archive`),
  );
  if (bytes === undefined || packed === undefined || local === undefined) return broken(file, 'a record has no size');
  const flags = directory.getUint16(at + 8, true);
  if (directory.getUint16(at + 10, true) !== 0 || packed !== bytes || (flags & 1) !== 0) {
    throw fatal('E_PICKLE_ARCHIVE', `${file}: record ${quoted(name)} of the archive is packed or encrypted`, {
      file,
      expected: 'records as they are, as torch.save writes them',
      hint: 'load it in Python and save it again, best with safetensors',
    });
  }
  return { name, bytes, local, next };
};

/** Where the bytes of a record lie: behind its own header, whose name and extra fields may be longer than the directory's. */
const recordOf = async (
  { file, viewAt }: Archive,
  { name, bytes, local }: Entry,
  directoryStart: number,
): Promise<ZipRecord> => {
  const header = await viewAt(local, sizeOf.local);
  if (header.getUint32(0, true) !== signature.local)
    return broken(file, `record ${quoted(name)} is not where it should be`);
  const start = local + sizeOf.local + header.getUint16(26, true) + header.getUint16(28, true);
  if (!Number.isSafeInteger(bytes) || start + bytes > directoryStart)
    return broken(file, `record ${quoted(name)} is cut off`);
  return { name, start, end: start + bytes };
};

/** All records of the archive, where their bytes lie. `E_PICKLE_ARCHIVE` for a damaged one, packed or encrypted records. */
export const zipRecords = async (
  handle: FileHandle,
  file: string,
  size: number,
): Promise<ReadonlyMap<string, ZipRecord>> => {
  const archive = archiveOf(handle, file, size);
  const { count, start, length } = await directoryOf(archive);
  if (length > mostDirectory) return broken(file, 'the directory of the archive is too large');
  const directory = await archive.viewAt(start, length);
  const records = new Map<string, ZipRecord>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    const entry = entryAt(file, directory, at);
    const record = await recordOf(archive, entry, start);
    if (records.has(record.name)) return broken(file, `two records are called ${quoted(record.name)}`);
    records.set(record.name, record);
    at = entry.next;
  }
  return records;
};
