/** A weight matrix in 8 or 4 bits: plain data, whatever engine computes with it. */
import type { QuantizedLayout } from '../kernels/quantizedMatrix.js';
import { valuesOfLayout } from '../kernels/quantizedMatrix.js';
import type { QuantizationConfig, StoredQuantization } from './config.js';
import { fourBitCodes, fourBitCodesOf, quantizeFourBit } from './fourBit.js';
import type { FourBitKind } from './fourBit.js';
import { gptqCodes, gptqLayout, gptqValues } from './gptq.js';
import type { GptqMatrix } from './gptq.js';
import { int8Codes, int8Units, quantizeInt8 } from './int8.js';
import type { Int8Rows } from './int8.js';
import { nestScales, unnestScales } from './nested.js';
import type { NestedScales } from './nested.js';

/** Shape [outputs, inputs], whatever layout the checkpoint has: GPT-2's Conv1D lies turned round. */
type Shape = readonly [number, number];

/** A matrix in 4 bits, as `FourBitBlocks` lays them out. */
export interface FourBitMatrix {
  readonly kind: FourBitKind;
  readonly shape: Shape;
  readonly blockSize: number;
  readonly codes: Uint8Array;
  /** Of each block; nested where they are quantised themselves. */
  readonly scale: Float32Array | NestedScales;
}

export type QuantizedMatrix = Int8Rows | FourBitMatrix | GptqMatrix;

/** A quantised matrix without its codes, which lie in the engine: values, divided by the scales, give them back exactly. */
export type QuantizedScales = Omit<Int8Rows, 'codes'> | Omit<FourBitMatrix, 'codes'> | Omit<GptqMatrix, 'codes'>;

/** What is quantised of a model, and how. */
export interface QuantizedBase {
  readonly config: StoredQuantization;
  /** By name of the weight, whose tensor is [outputs, inputs] whatever the architecture stores (GPT-2's Conv1D lies turned). */
  readonly scales: Readonly<Record<string, QuantizedScales>>;
}

export const isNested = (scale: FourBitMatrix['scale']): scale is NestedScales => !(scale instanceof Float32Array);

const absmaxOf = (scale: FourBitMatrix['scale']): Float32Array => (isNested(scale) ? unnestScales(scale) : scale);

/** 64, as bitsandbytes has it. */
const blockSize = 64;

/** Row-major values [outputs, inputs] quantised as the options say. */
export const quantizeMatrix = (config: QuantizationConfig, values: Float32Array, shape: Shape): QuantizedMatrix => {
  if (config.loadIn8bit) return quantizeInt8(values, shape);
  const kind = config.bnb4bitQuantType;
  const { codes, absmax } = quantizeFourBit(values, kind, blockSize);
  return { kind, shape, blockSize, codes, scale: config.bnb4bitUseDoubleQuant ? nestScales(absmax) : absmax };
};

const blocksOf = (matrix: Int8Rows | FourBitMatrix): QuantizedLayout => {
  const { shape, codes } = matrix;
  return matrix.kind === 'int8'
    ? { shape, codes, scale: int8Units(matrix.scale), blockSize: 0 }
    : { shape, codes, scale: absmaxOf(matrix.scale), map: fourBitCodes[matrix.kind], blockSize: matrix.blockSize };
};

/** As an engine takes it; undefined for a GPTQ matrix that none can hold as it lies. */
export const layoutOf = (matrix: QuantizedMatrix): QuantizedLayout | undefined =>
  matrix.kind === 'gptq' ? gptqLayout(matrix) : blocksOf(matrix);

/** The values that products read, [outputs, inputs] row-major. */
export const dequantizeMatrix = (matrix: QuantizedMatrix): Float32Array =>
  matrix.kind === 'gptq' ? gptqValues(matrix) : valuesOfLayout(blocksOf(matrix));

export const scalesOf = (matrix: QuantizedMatrix): QuantizedScales => {
  const { codes: _codes, ...scales } = matrix;
  return scales;
};

/** The matrix again from its scales and the values that it stands for. */
export const matrixOf = (scales: QuantizedScales, values: Float32Array): QuantizedMatrix => {
  switch (scales.kind) {
    case 'int8':
      return { ...scales, codes: int8Codes(values, scales.shape, scales.scale) };
    case 'gptq':
      return { ...scales, codes: gptqCodes(values, scales) };
    default:
      return { ...scales, codes: fourBitCodesOf(scales.kind, values, absmaxOf(scales.scale), scales.blockSize) };
  }
};
