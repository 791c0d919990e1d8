import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** A matrix as it lies in memory, in 8 bits a value or in 4. */
export interface QuantizedLayout {
  /** [rows, columns] */
  readonly shape: readonly [number, number];
  /** 8 bits: one code a value. 4 bits: two a byte, the first in the high half. */
  readonly codes: Int8Array | Uint8Array;
  /** What a code is multiplied with: of each row (8 bits) or of each block of values (4 bits). */
  readonly scale: Float32Array;
  /** 4 bits: the 16 numbers that codes stand for. Absent: 8 bits, a code stands for itself. */
  readonly map?: Float32Array;
  /** 4 bits: values of a block, which run over the rows. */
  readonly blockSize: number;
}

/** Row-major values. */
export const valuesOfLayout = ({
  shape: [rows, columns],
  codes,
  scale,
  map,
  blockSize,
}: QuantizedLayout): Float32Array => {
  const values = new Float32Array(rows * columns);
  if (map === undefined) {
    for (let row = 0; row < rows; row++) {
      const unit = scale[row] ?? 0;
      for (let i = row * columns; i < (row + 1) * columns; i++) values[i] = (codes[i] ?? 0) * unit;
    }
    return values;
  }
  for (let i = 0; i < values.length; i++) {
    const byte = codes[i >> 1] ?? 0;
    values[i] = (map[i % 2 === 0 ? byte >> 4 : byte & 15] ?? 0) * (scale[Math.floor(i / blockSize)] ?? 0);
  }
  return values;
};

export const RxQuantizedMatrix = namedOp(
  'RxQuantizedMatrix',
  (_inputs: object, layout: QuantizedLayout): readonly [Tensor] => [
    tensor2d(valuesOfLayout(layout), [...layout.shape] as [number, number]),
  ],
);

/** The matrix [rows, columns] as a float32 tensor; an engine that can keeps it as it lies. It is read and never updated. */
export const quantizedMatrix = (layout: QuantizedLayout): Tensor => RxQuantizedMatrix.run({}, layout)[0];
