/** A reader of GGUF for tests, written from the specification. */
import { readFileSync } from 'node:fs';
import { bfloat16ToFloat32, float16ToFloat32 } from '../../src/formats/tensors/float16.js';

export interface GgufTensorRead {
  /** Rows first. */
  readonly shape: ReadonlyArray<number>;
  readonly type: 'f32' | 'f16' | 'bf16' | 'q8_0';
  readonly bytes: Uint8Array;
  readonly values: Float32Array;
}

export interface GgufRead {
  readonly metadata: Readonly<Record<string, unknown>>;
  readonly tensors: ReadonlyMap<string, GgufTensorRead>;
}

const typeNames: Readonly<Record<number, GgufTensorRead['type']>> = { 0: 'f32', 1: 'f16', 8: 'q8_0', 30: 'bf16' };

const valuesOf = (type: GgufTensorRead['type'], bytes: Uint8Array): Float32Array => {
  const copy = Uint8Array.from(bytes);
  if (type === 'f32') return new Float32Array(copy.buffer);
  if (type === 'f16') return float16ToFloat32(new Uint16Array(copy.buffer));
  if (type === 'bf16') return bfloat16ToFloat32(new Uint16Array(copy.buffer));
  const blocks = copy.length / 34;
  const values = new Float32Array(blocks * 32);
  const view = new DataView(copy.buffer);
  for (let b = 0; b < blocks; b++) {
    const [scale = NaN] = float16ToFloat32(Uint16Array.of(view.getUint16(b * 34, true)));
    for (let i = 0; i < 32; i++) values[b * 32 + i] = scale * view.getInt8(b * 34 + 2 + i);
  }
  return values;
};

export const readGguf = (path: string): GgufRead => {
  const file = readFileSync(path);
  let at = 0;
  const skip = (bytes: number): number => {
    at += bytes;
    return at - bytes;
  };
  const word = (): number => file.readUInt32LE(skip(4));
  const long = (): number => Number(file.readBigUInt64LE(skip(8)));
  const text = (): string => {
    const length = long();
    return file.toString('utf8', skip(length), at);
  };
  const value = (type: number): unknown => {
    switch (type) {
      case 4:
        return word();
      case 5:
        return file.readInt32LE(skip(4));
      case 6:
        return file.readFloatLE(skip(4));
      case 7:
        return file.readUInt8(skip(1)) === 1;
      case 8:
        return text();
      case 9: {
        const item = word();
        return Array.from({ length: long() }, () => value(item));
      }
      default:
        throw new Error(`unknown type ${type}`);
    }
  };
  if (file.toString('latin1', 0, 4) !== 'GGUF') throw new Error('no GGUF file');
  skip(4);
  if (word() !== 3) throw new Error('not version 3');
  const [tensorCount, entryCount] = [long(), long()];
  const metadata: Record<string, unknown> = {};
  for (let i = 0; i < entryCount; i++) {
    const key = text();
    metadata[key] = value(word());
  }
  const infos = Array.from({ length: tensorCount }, () => {
    const name = text();
    const shape = Array.from({ length: word() }, long).reverse();
    const type = typeNames[word()];
    if (type === undefined) throw new Error(`"${name}" is of an unknown type`);
    return { name, shape, type, offset: long() };
  });
  const start = Math.ceil(at / 32) * 32;
  const tensors = new Map<string, GgufTensorRead>();
  for (const { name, shape, type, offset } of infos) {
    const count = shape.reduce((product, n) => product * n, 1);
    const length = type === 'f32' ? count * 4 : type === 'f16' || type === 'bf16' ? count * 2 : (count / 32) * 34;
    const bytes = file.subarray(start + offset, start + offset + length);
    if (bytes.length !== length || offset % 32 !== 0 || tensors.has(name)) throw new Error(`"${name}" lies wrong`);
    tensors.set(name, { shape, type, bytes, values: valuesOf(type, bytes) });
  }
  return { metadata, tensors };
};
