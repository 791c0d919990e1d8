/**
 * GPTQ (Frantar et al. 2023): a weight rounded column by column, the error of each column made up for by those still to come, so that
 * the layer's outputs on calibration inputs change least.
 */
import { float16ToFloat32, float32ToFloat16 } from '../../formats/tensors/float16.js';
import type { QuantizedLayout } from '../kernels/quantizedMatrix.js';
import { roundHalfToEven } from './int8.js';

/** How GPTQ rounds (Frantar et al. 2023); the fields of AutoGPTQ's quantize_config.json, camelCased. */
export interface GptqOptions {
  /** 4 or 8. */
  readonly bits: 4 | 8;
  /** Inputs that share a scale; -1: all. */
  readonly groupSize: number;
  /** Columns in the order of falling activation: better, and slower to run. */
  readonly descAct: boolean;
  /** Zero in the middle of the range. */
  readonly sym: boolean;
  /** Added to the diagonal, as a share of its mean. */
  readonly dampPercent: number;
}

/** A matrix [O, I] as GPTQ rounded it: value [o, i] = scale[g, o] · (code[o, i] - zero[g, o]) with g = groupIndex[i]. */
export interface GptqMatrix {
  readonly kind: 'gptq';
  /** [outputs, inputs] */
  readonly shape: readonly [number, number];
  readonly bits: 4 | 8;
  readonly codes: Uint8Array;
  /** [groups, outputs], numbers that half precision has. */
  readonly scale: Float32Array;
  /** [groups, outputs]; 0 to 2^bits, which no code reaches. */
  readonly zero: Uint16Array;
  /** [inputs] */
  readonly groupIndex: Int32Array;
}

const throughHalf = (x: number): number => float16ToFloat32(float32ToFloat16(Float32Array.of(x)))[0] ?? 0;

/** Scale and zero of a row's group, from the least and the greatest of its values. */
const rangeOf = (low: number, high: number, maxCode: number, sym: boolean): readonly [number, number] => {
  const [bottom, top] = sym ? [-Math.max(-low, high), Math.max(-low, high)] : [low, high];
  // Zero is stored less 1, so that it cannot be 0: a range without negative numbers gets one step below.
  const steps = !sym && bottom === 0 ? maxCode - 1 : maxCode;
  const scale = throughHalf(top === bottom ? 1 : (top - bottom) / steps) || throughHalf(2 ** -14);
  if (sym) return [scale, (maxCode + 1) / 2];
  return [scale, Math.min(maxCode, Math.max(1, roundHalfToEven(-bottom / scale)))];
};

const codeOf = (x: number, scale: number, zero: number, maxCode: number): number =>
  Math.min(maxCode, Math.max(0, roundHalfToEven(x / scale) + zero));

/**
 * Upper-triangular U with UᵀU = H⁻¹, for H [n, n] symmetric and positive: the inverse of the upper-triangular M with H = M·Mᵀ.
 */
export const inverseFactor = (h: Float64Array, n: number): Float64Array => {
  const m = new Float64Array(n * n);
  for (let j = n - 1; j >= 0; j--) {
    for (let i = j; i >= 0; i--) {
      let sum = h[i * n + j] ?? 0;
      for (let k = j + 1; k < n; k++) sum -= (m[i * n + k] ?? 0) * (m[j * n + k] ?? 0);
      m[i * n + j] = i === j ? Math.sqrt(Math.max(sum, 1e-12)) : sum / (m[j * n + j] ?? 1);
    }
  }
  const u = new Float64Array(n * n);
  for (let i = n - 1; i >= 0; i--) {
    u[i * n + i] = 1;
    for (let k = i + 1; k < n; k++) {
      const factor = m[i * n + k] ?? 0;
      for (let j = k; j < n; j++) u[i * n + j] = (u[i * n + j] ?? 0) - factor * (u[k * n + j] ?? 0);
    }
    const diagonal = m[i * n + i] ?? 1;
    for (let j = i; j < n; j++) u[i * n + j] = (u[i * n + j] ?? 0) / diagonal;
  }
  return u;
};

/** Columns by falling diagonal, or as they are. */
const orderOf = (h: Float64Array, n: number, descAct: boolean): Int32Array => {
  const order = Int32Array.from({ length: n }, (_, i) => i);
  return descAct ? order.sort((a, b) => (h[b * n + b] ?? 0) - (h[a * n + a] ?? 0) || a - b) : order;
};

/**
 * The weight [outputs, inputs] in `bits`, given H = Σ x·xᵀ over calibration inputs, [inputs, inputs]. An input that was always 0 gets
 * weights of 0.
 */
export const gptq = (
  weight: Float32Array,
  [rows, n]: readonly [number, number],
  hessian: Float64Array,
  { bits, groupSize, descAct, sym, dampPercent }: GptqOptions,
): GptqMatrix => {
  const maxCode = 2 ** bits - 1;
  const size = groupSize === -1 ? n : groupSize;
  const groups = Math.ceil(n / size);
  const order = orderOf(hessian, n, descAct);
  const w = new Float64Array(rows * n);
  const h = new Float64Array(n * n);
  let trace = 0;
  order.forEach((from, i) => {
    const diagonal = hessian[from * n + from] ?? 0;
    const dead = diagonal === 0;
    for (let row = 0; row < rows; row++) w[row * n + i] = dead ? 0 : (weight[row * n + from] ?? 0);
    order.forEach((other, j) => {
      h[i * n + j] = dead && i === j ? 1 : (hessian[from * n + other] ?? 0);
    });
    trace += h[i * n + i] ?? 0;
  });
  const damp = (dampPercent * trace) / n;
  for (let i = 0; i < n; i++) h[i * n + i] = (h[i * n + i] ?? 0) + damp;
  const u = inverseFactor(h, n);
  const codes = new Uint8Array(rows * n);
  const scale = new Float32Array(groups * rows);
  const zero = new Uint16Array(groups * rows);
  const groupIndex = new Int32Array(n);
  order.forEach((from, i) => {
    groupIndex[from] = Math.floor(i / size);
  });
  for (let row = 0; row < rows; row++) {
    const start = row * n;
    for (let i = 0; i < n; i++) {
      const at = Math.floor(i / size) * rows + row;
      if (i % size === 0) {
        let [low, high] = [0, 0];
        for (let j = i; j < Math.min(n, i + size); j++) {
          low = Math.min(low, w[start + j] ?? 0);
          high = Math.max(high, w[start + j] ?? 0);
        }
        const [step, middle] = rangeOf(low, high, maxCode, sym);
        scale[at] = step;
        zero[at] = middle;
      }
      const [step, middle] = [scale[at] ?? 1, zero[at] ?? 0];
      const value = w[start + i] ?? 0;
      const code = codeOf(value, step, middle, maxCode);
      codes[start + (order[i] ?? 0)] = code;
      const error = (value - step * (code - middle)) / (u[i * n + i] ?? 1);
      for (let j = i + 1; j < n; j++) w[start + j] = (w[start + j] ?? 0) - error * (u[i * n + j] ?? 0);
    }
  }
  return { kind: 'gptq', shape: [rows, n], bits, codes, scale, zero, groupIndex };
};

/** The same, each value rounded by itself. */
export const roundToNearest = (
  weight: Float32Array,
  shape: readonly [number, number],
  options: GptqOptions,
): GptqMatrix => {
  const [, n] = shape;
  const unit = new Float64Array(n * n);
  for (let i = 0; i < n; i++) unit[i * n + i] = 1;
  return gptq(weight, shape, unit, { ...options, descAct: false });
};

/** The values that products read, [outputs, inputs]; exact where scales are half-precision numbers. */
export const gptqValues = ({ shape: [rows, n], codes, scale, zero, groupIndex }: GptqMatrix): Float32Array => {
  const values = new Float32Array(rows * n);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < n; i++) {
      const at = (groupIndex[i] ?? 0) * rows + row;
      values[row * n + i] = (scale[at] ?? 0) * ((codes[row * n + i] ?? 0) - (zero[at] ?? 0));
    }
  return values;
};

/** The codes that such values were made from. */
export const gptqCodes = (
  values: Float32Array,
  { shape: [rows, n], bits, scale, zero, groupIndex }: Omit<GptqMatrix, 'codes'>,
): Uint8Array => {
  const codes = new Uint8Array(rows * n);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < n; i++) {
      const at = (groupIndex[i] ?? 0) * rows + row;
      const step = scale[at] ?? 0;
      // At a scale of 0 all codes stand for 0.
      codes[row * n + i] = codeOf(values[row * n + i] ?? 0, step === 0 ? 1 : step, zero[at] ?? 0, 2 ** bits - 1);
    }
  return codes;
};

/**
 * The matrix as engines hold 4 and 8 bits, of the very same values: where zero lies in the middle of every range and a group is a run
 * of inputs (4 bits), or all of them (8 bits). Undefined for others.
 */
export const gptqLayout = (matrix: GptqMatrix): QuantizedLayout | undefined => {
  const {
    shape,
    shape: [rows, n],
    bits,
    codes,
    scale,
    zero,
    groupIndex,
  } = matrix;
  const groups = scale.length / rows;
  const blockSize = n / groups;
  const middle = 2 ** (bits - 1);
  if (zero.some((x) => x !== middle) || groupIndex.some((group, i) => group !== Math.floor(i / blockSize)))
    return undefined;
  if (bits === 8)
    return groups === 1
      ? { shape, codes: Int8Array.from(codes, (code) => code - middle), scale, blockSize: 0 }
      : undefined;
  // Two codes of a byte lie in one block.
  if (blockSize % 2 !== 0) return undefined;
  const packed = new Uint8Array((rows * n) / 2);
  for (let i = 0; i < packed.length; i++) packed[i] = ((codes[2 * i] ?? 0) << 4) | (codes[2 * i + 1] ?? 0);
  // Scales of a row's blocks beside each other.
  const scales = Float32Array.from(scale, (_, at) => scale[(at % groups) * rows + Math.floor(at / groups)] ?? 0);
  return {
    shape,
    codes: packed,
    scale: scales,
    map: Float32Array.from({ length: 16 }, (_, code) => code - 8),
    blockSize,
  };
};

/** Σ over calibration inputs of the squared change of the outputs: tr(D·H·Dᵀ) with D the change of the weight. */
export const outputError = (
  before: Float32Array,
  after: Float32Array,
  [rows, n]: readonly [number, number],
  hessian: Float64Array,
): number => {
  let total = 0;
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < n; i++) {
      const change = (after[row * n + i] ?? 0) - (before[row * n + i] ?? 0);
      if (change === 0) continue;
      for (let j = 0; j < n; j++)
        total += change * (hessian[i * n + j] ?? 0) * ((after[row * n + j] ?? 0) - (before[row * n + j] ?? 0));
    }
  return total;
};
