/** Numbers as they lie in a GGUF file. */
import { float32ToBfloat16, float32ToFloat16 } from '../tensors/float16.js';
import type { GgufType } from './values.js';

/** Numbers that share a scale. */
export const q8Block = 32;
const q8Bytes = 2 + q8Block;

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Half away from zero, as C's roundf. */
const rounded = (x: number): number => Math.sign(x) * Math.floor(Math.abs(x) + 0.5);

/**
 * q8_0: blocks of 32 numbers as one float16 scale d = max|x| / 127 and 32 signed bytes x / d, computed in float32 as ggml's
 * reference does. The count must be a multiple of 32.
 */
export const encodeQ8 = (values: Float32Array): Uint8Array => {
  const blocks = values.length / q8Block;
  const out = new Uint8Array(blocks * q8Bytes);
  const scales = new Float32Array(blocks);
  const { fround } = Math;
  for (let b = 0; b < blocks; b++) {
    let largest = 0;
    for (let i = 0; i < q8Block; i++) largest = Math.max(largest, Math.abs(values[b * q8Block + i] ?? 0));
    const scale = fround(largest / 127);
    const inverse = scale === 0 ? 0 : fround(1 / scale);
    scales[b] = scale;
    for (let i = 0; i < q8Block; i++) {
      const q = rounded(fround((values[b * q8Block + i] ?? 0) * inverse));
      out[b * q8Bytes + 2 + i] = Math.min(127, Math.max(-128, q)) & 0xff;
    }
  }
  const halves = float32ToFloat16(scales);
  for (let b = 0; b < blocks; b++) {
    const half = halves[b] ?? 0;
    out[b * q8Bytes] = half & 0xff;
    out[b * q8Bytes + 1] = half >>> 8;
  }
  return out;
};

export const ggufByteLength = (type: GgufType, count: number): number => {
  switch (type) {
    case 'f32':
      return count * 4;
    case 'f16':
    case 'bf16':
      return count * 2;
    case 'q8_0':
      return (count / q8Block) * q8Bytes;
  }
};

export const encodeGgufData = (type: GgufType, values: Float32Array): Uint8Array => {
  switch (type) {
    case 'f32':
      return bytesOf(values);
    case 'f16':
      return bytesOf(float32ToFloat16(values));
    case 'bf16':
      return bytesOf(float32ToBfloat16(values));
    case 'q8_0':
      return encodeQ8(values);
  }
};
