/** The head of a safetensors file: parsed and held against the file's size before anything is allocated for its tensors. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { describe } from '../describe.js';
import { strictUtf8 } from '../files/utf8.js';
import { parseJson } from '../json/json.js';
import { isJsonRecord } from '../json/jsonRecord.js';

/** Bytes an element, in the order in which the reference implementation lays tensors out (last ones first). */
export const bytesOfDtype = {
  BOOL: 1,
  U8: 1,
  I8: 1,
  F8_E5M2: 1,
  F8_E4M3: 1,
  I16: 2,
  U16: 2,
  F16: 2,
  BF16: 2,
  I32: 4,
  U32: 4,
  F32: 4,
  C64: 8,
  F64: 8,
  I64: 8,
  U64: 8,
} as const;

/** What the numbers of a tensor are, as safetensors names them. */
export type Dtype = keyof typeof bytesOfDtype;

const isDtype = (name: string): name is Dtype => Object.hasOwn(bytesOfDtype, name);

export interface TensorInfo {
  readonly dtype: Dtype;
  readonly shape: ReadonlyArray<number>;
  /** Bytes [start, end) of the file. */
  readonly start: number;
  readonly end: number;
}

export interface SafetensorsHeader {
  /** In the order of their bytes. */
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

/** As in the reference implementation: a longer header is an attack or a damaged file. */
const maxHeaderBytes = 100_000_000;
export const lengthBytes = 8;

const count = new t.Type<number, number, unknown>(
  'a whole number ≥ 0',
  (u): u is number => typeof u === 'number' && Number.isSafeInteger(u) && u >= 0,
  (u, context) => (typeof u === 'number' && Number.isSafeInteger(u) && u >= 0 ? t.success(u) : t.failure(u, context)),
  t.identity,
);
const isOffsets = (u: unknown): u is readonly [number, number] =>
  Array.isArray(u) && u.length === 2 && u.every(count.is);
/** Not `t.tuple`, which takes longer lists too. */
const Offsets = new t.Type<readonly [number, number], readonly [number, number], unknown>(
  'two byte offsets, whole numbers ≥ 0',
  isOffsets,
  (u, context) => (isOffsets(u) ? t.success(u) : t.failure(u, context)),
  t.identity,
);
const Shape = t.readonlyArray(count, 'a list of dimensions, whole numbers ≥ 0');
const Metadata = t.record(t.string, t.string, 'a record of strings');

/** Length of the header from the first eight bytes, checked against the file's size. */
export const headerLength = (file: string, fileBytes: number, first: Uint8Array): Either<FatalError, number> => {
  const cut = (expected: string): FatalError =>
    fatal('E_SAFETENSORS_TRUNCATED', `${file} is cut off inside its header`, {
      file,
      expected,
      actual: `${fileBytes} bytes`,
      hint: 'copy or download the file again: it is incomplete',
    });
  if (fileBytes < lengthBytes || first.length < lengthBytes) return E.left(cut(`at least ${lengthBytes} bytes`));
  const length = new DataView(first.buffer, first.byteOffset).getBigUint64(0, true);
  if (length > BigInt(maxHeaderBytes)) {
    return E.left(
      fatal('E_SAFETENSORS_HEADER_TOO_LONG', `${file}: the header claims to be ${length} bytes long`, {
        file,
        expected: `at most ${maxHeaderBytes} bytes`,
        actual: `${length}`,
        hint: 'is this a safetensors file at all?',
      }),
    );
  }
  return Number(length) > fileBytes - lengthBytes
    ? E.left(cut(`a header of ${length} bytes after the first ${lengthBytes}`))
    : E.right(Number(length));
};

/** Keys of the outermost object that are there twice; `JSON.parse` would keep the last one silently. */
const repeatedKey = (text: string): string | undefined => {
  const seen = new Set<string>();
  const tokens = /"(?:[^"\\]|\\.)*"|[{}[\]]/g;
  let depth = 0;
  for (let match = tokens.exec(text); match !== null; match = tokens.exec(text)) {
    const [token] = match;
    if (token === '{' || token === '[') depth++;
    else if (token === '}' || token === ']') depth--;
    else if (depth === 1) {
      // Values at this depth are objects, so every string here is a key.
      const key = String(JSON.parse(token));
      if (seen.has(key)) return key;
      seen.add(key);
    }
  }
  return undefined;
};

type Wrong = (code: `E_${string}`, message: string, expected?: string, actual?: unknown) => Either<FatalError, never>;

const tensorInfo = (
  value: unknown,
  headerEnd: number,
  fileBytes: number,
  wrong: Wrong,
): Either<FatalError, TensorInfo> => {
  if (!isJsonRecord(value)) return wrong('E_SAFETENSORS_HEADER', 'is not described by a record', 'an object', value);
  const { dtype, shape: dimensions, data_offsets: offsets } = value;
  if (typeof dtype !== 'string' || !isDtype(dtype)) {
    return wrong('E_SAFETENSORS_DTYPE', 'has an unknown dtype', Object.keys(bytesOfDtype).join(', '), dtype);
  }
  const shape = Shape.decode(dimensions);
  if (E.isLeft(shape)) return wrong('E_SAFETENSORS_SHAPE', 'has no valid shape', Shape.name, dimensions);
  const range = Offsets.decode(offsets);
  if (E.isLeft(range)) return wrong('E_SAFETENSORS_OFFSETS', 'has no valid data_offsets', Offsets.name, offsets);
  const [begin, end] = range.right;
  if (end < begin) return wrong('E_SAFETENSORS_OFFSETS', 'ends before it begins', 'begin ≤ end', offsets);
  const bytes = shape.right.reduce((product, dimension) => product * dimension, bytesOfDtype[dtype]);
  if (!Number.isSafeInteger(bytes))
    return wrong('E_SAFETENSORS_SHAPE', 'is larger than any file', undefined, dimensions);
  if (headerEnd + end > fileBytes) {
    return wrong(
      'E_SAFETENSORS_BEYOND_FILE',
      'reaches beyond the end of the file',
      `data_offsets up to ${fileBytes - headerEnd}`,
      offsets,
    );
  }
  if (end - begin !== bytes) {
    return wrong(
      'E_SAFETENSORS_SIZE',
      `has ${end - begin} bytes, which its shape and dtype do not fill`,
      `${bytes} bytes for ${dtype} ${JSON.stringify(shape.right)}`,
      offsets,
    );
  }
  return E.right({ dtype, shape: shape.right, start: headerEnd + begin, end: headerEnd + end });
};

/**
 * The header as JSON bytes → what the file holds. Refused, each with its own code: fields of wrong type, unknown dtypes,
 * offsets that are negative, fractional, reversed or beyond the file, sizes that disagree with shape and dtype, tensors that
 * overlap or leave holes, names that are there twice, bytes after the last tensor.
 */
export const decodeHeader = (
  file: string,
  fileBytes: number,
  bytes: Uint8Array,
): Either<FatalError, SafetensorsHeader> => {
  const refuse: Wrong = (code, message, expected, actual) =>
    E.left(
      fatal(code, `${file}: ${message}`, {
        file,
        ...(expected === undefined ? {} : { expected }),
        ...(actual === undefined ? {} : { actual: describe(actual) }),
      }),
    );
  const text = strictUtf8(bytes);
  if (text === undefined) return refuse('E_SAFETENSORS_HEADER', 'the header is not UTF-8');
  const parsed = parseJson(text, file);
  if (E.isLeft(parsed)) {
    return refuse('E_SAFETENSORS_HEADER', `the header is ${parsed.left.message}`, 'a JSON object');
  }
  if (!isJsonRecord(parsed.right))
    return refuse('E_SAFETENSORS_HEADER', 'the header is no object', 'a JSON object', parsed.right);
  const twice = repeatedKey(text);
  if (twice !== undefined) return refuse('E_SAFETENSORS_DUPLICATE', `"${twice}" is in the header twice`);

  const headerEnd = lengthBytes + bytes.length;
  const entries: Array<readonly [string, TensorInfo]> = [];
  let metadata: Readonly<Record<string, string>> = {};
  for (const [name, value] of Object.entries(parsed.right)) {
    if (name === '__metadata__') {
      const decoded = Metadata.decode(value);
      if (E.isLeft(decoded)) return refuse('E_SAFETENSORS_HEADER', '__metadata__ is malformed', Metadata.name, value);
      metadata = decoded.right;
      continue;
    }
    const info = tensorInfo(value, headerEnd, fileBytes, (code, message, expected, actual) =>
      refuse(code, `tensor "${name}" ${message}`, expected, actual),
    );
    if (E.isLeft(info)) return info;
    entries.push([name, info.right]);
  }

  entries.sort(([, a], [, b]) => a.start - b.start || a.end - b.end);
  let end = headerEnd;
  let before = 'the header';
  for (const [name, info] of entries) {
    if (info.start < end) return refuse('E_SAFETENSORS_OVERLAP', `tensors "${before}" and "${name}" overlap`);
    if (info.start > end) {
      return refuse(
        'E_SAFETENSORS_HOLE',
        `${info.start - end} bytes between "${before}" and "${name}" belong to no tensor`,
      );
    }
    end = info.end;
    before = name;
  }
  return end === fileBytes
    ? E.right({ tensors: new Map(entries), metadata })
    : refuse('E_SAFETENSORS_TRAILING', `${fileBytes - end} bytes after "${before}" belong to no tensor`);
};

/** Rows of a header to be written; offsets count from the end of the header. */
export interface HeaderEntry {
  readonly name: string;
  readonly dtype: Dtype;
  readonly shape: ReadonlyArray<number>;
  readonly begin: number;
  readonly end: number;
}

/** Length and header as bytes, padded with spaces so that the data begins at a multiple of eight. */
export const encodeHeader = (
  entries: ReadonlyArray<HeaderEntry>,
  metadata: Readonly<Record<string, string>>,
): Uint8Array => {
  // Assembled as text: as keys of an object, names like "0" would change their order and "__proto__" would vanish.
  const parts = entries.map(
    ({ name, dtype, shape, begin, end }) =>
      `${JSON.stringify(name)}:${JSON.stringify({ dtype, shape, data_offsets: [begin, end] })}`,
  );
  if (Object.keys(metadata).length > 0) parts.unshift(`"__metadata__":${JSON.stringify(metadata)}`);
  const json = new TextEncoder().encode(`{${parts.join(',')}}`);
  const length = Math.ceil(json.length / 8) * 8;
  const bytes = new Uint8Array(lengthBytes + length).fill(0x20);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(length), true);
  bytes.set(json, lengthBytes);
  return bytes;
};
