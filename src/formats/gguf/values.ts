/** Metadata of a GGUF file: typed values under names (https://github.com/ggml-org/ggml/blob/master/docs/gguf.md). */

export type GgufValue =
  | { readonly type: 'uint32' | 'float32'; readonly value: number }
  | { readonly type: 'bool'; readonly value: boolean }
  | { readonly type: 'string'; readonly value: string }
  | { readonly type: 'strings'; readonly value: ReadonlyArray<string> }
  | { readonly type: 'int32s' | 'float32s'; readonly value: ArrayLike<number> };

export type GgufMetadata = Readonly<Record<string, GgufValue>>;

export const uint32 = (value: number): GgufValue => ({ type: 'uint32', value });
export const float32 = (value: number): GgufValue => ({ type: 'float32', value });
export const bool = (value: boolean): GgufValue => ({ type: 'bool', value });
export const string = (value: string): GgufValue => ({ type: 'string', value });
export const strings = (value: ReadonlyArray<string>): GgufValue => ({ type: 'strings', value });
export const int32s = (value: ArrayLike<number>): GgufValue => ({ type: 'int32s', value });
export const float32s = (value: ArrayLike<number>): GgufValue => ({ type: 'float32s', value });

/** Numbers of the types in the file. */
const codes = { int32: 5, uint32: 4, float32: 6, bool: 7, string: 8, array: 9 } as const;

const encoder = new TextEncoder();

const joined = (parts: ReadonlyArray<Uint8Array>): Uint8Array => {
  const all = new Uint8Array(parts.reduce((size, { length }) => size + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

const word = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setUint32(0, value, true);
  return bytes;
};

const long = (value: number): Uint8Array => {
  const bytes = new Uint8Array(8);
  new DataView(bytes.buffer).setBigUint64(0, BigInt(value), true);
  return bytes;
};

const float = (value: number): Uint8Array => {
  const bytes = new Uint8Array(4);
  new DataView(bytes.buffer).setFloat32(0, value, true);
  return bytes;
};

const text = (value: string): Uint8Array => {
  const bytes = encoder.encode(value);
  return joined([long(bytes.length), bytes]);
};

const array = (code: number, length: number, items: Uint8Array): Uint8Array =>
  joined([word(codes.array), word(code), long(length), items]);

const encoded = (given: GgufValue): Uint8Array => {
  switch (given.type) {
    case 'uint32':
      return joined([word(codes.uint32), word(given.value)]);
    case 'float32':
      return joined([word(codes.float32), float(given.value)]);
    case 'bool':
      return joined([word(codes.bool), Uint8Array.of(given.value ? 1 : 0)]);
    case 'string':
      return joined([word(codes.string), text(given.value)]);
    case 'strings':
      return array(codes.string, given.value.length, joined(given.value.map(text)));
    case 'int32s': {
      const items = Int32Array.from(given.value);
      return array(codes.int32, items.length, new Uint8Array(items.buffer));
    }
    case 'float32s': {
      const items = Float32Array.from(given.value);
      return array(codes.float32, items.length, new Uint8Array(items.buffer));
    }
  }
};

/** How the numbers of a tensor lie in the file. */
export type GgufType = 'f32' | 'f16' | 'bf16' | 'q8_0';

const typeCodes: Readonly<Record<GgufType, number>> = { f32: 0, f16: 1, q8_0: 8, bf16: 30 };

export interface GgufTensorInfo {
  readonly name: string;
  /** Rows first, as everywhere here; the file has the length of a row first. */
  readonly shape: ReadonlyArray<number>;
  readonly type: GgufType;
  /** In bytes, from the beginning of the data. */
  readonly offset: number;
}

/** Places in the file where tensors begin are multiples of this. */
const alignment = 32;

export const padded = (bytes: number): number => Math.ceil(bytes / alignment) * alignment;

/** Everything before the data, filled up to where the first tensor begins. Version 3, little-endian. */
export const encodeGgufHeader = (metadata: GgufMetadata, tensors: ReadonlyArray<GgufTensorInfo>): Uint8Array => {
  const entries = Object.entries(metadata);
  const header = joined([
    encoder.encode('GGUF'),
    word(3),
    long(tensors.length),
    long(entries.length),
    ...entries.flatMap(([key, value]) => [text(key), encoded(value)]),
    ...tensors.flatMap(({ name, shape, type, offset }) => [
      text(name),
      word(shape.length),
      ...shape.toReversed().map(long),
      word(typeCodes[type]),
      long(offset),
    ]),
  ]);
  const whole = new Uint8Array(padded(header.length));
  whole.set(header);
  return whole;
};
