import type { Tensor } from '@tensorflow/tfjs-core';
import { float16ToFloat32, float32ToFloat16 } from '../../formats/tensors/float16.js';
import { tensor2d } from '../../tfjs.js';
import { roundHalfToEven } from '../quantize/int8.js';
import { namedOp } from './namedOp.js';

export interface Int8ActivationsAttrs {
  /** Magnitude from which an element makes its column an outlier. */
  readonly threshold: number;
}

/** The same on plain numbers, row-major [rows, columns]. */
export const int8ActivationsOf = (
  x: Float32Array,
  [rows, columns]: readonly [number, number],
  { threshold }: Int8ActivationsAttrs,
): Float32Array => {
  const half = float16ToFloat32(float32ToFloat16(x));
  const isLarge = (value: number): boolean => Math.abs(value) >= threshold;
  const outlier = new Uint8Array(columns);
  half.forEach((value, i) => {
    if (isLarge(value)) outlier[i % columns] = 1;
  });
  const result = new Float32Array(x.length);
  for (let row = 0; row < rows; row++) {
    const from = row * columns;
    let top = 0;
    for (let i = from; i < from + columns; i++) {
      const value = half[i] ?? 0;
      if (!isLarge(value)) top = Math.max(top, Math.abs(value));
    }
    const unit = Math.fround(top / 127);
    for (let column = 0; column < columns; column++) {
      const value = half[from + column] ?? 0;
      const code = roundHalfToEven(Math.fround(Math.fround(value * 127) / (top === 0 ? 1 : top)));
      result[from + column] = outlier[column] === 1 ? value : code * unit;
    }
  }
  return result;
};

export const RxInt8Activations = namedOp(
  'RxInt8Activations',
  ({ x }: { x: Tensor }, attrs: Int8ActivationsAttrs): readonly [Tensor] => {
    const [rows = 0, columns = 0] = x.shape;
    return [tensor2d(int8ActivationsOf(x.dataSync<'float32'>(), [rows, columns], attrs), [rows, columns])];
  },
);

/**
 * x [N, I] as an 8-bit product reads it (LLM.int8): in half precision; columns with an element |x| ≥ threshold as they are, the
 * others rounded to 8 bits, each row by the largest magnitude among its elements below the threshold.
 */
export const int8Activations = (x: Tensor, attrs: Int8ActivationsAttrs): Tensor =>
  RxInt8Activations.run({ x }, attrs)[0];
