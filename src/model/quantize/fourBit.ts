/** Weights in 4 bits, a scale for every block of them: NF4 and FP4 as bitsandbytes packs them (Dettmers et al. 2023). */

/** Which 16 numbers the codes stand for: those of NormalFloat (`nf4`), or of a float of 4 bits (`fp4`). */
export type FourBitKind = 'nf4' | 'fp4';

/** Values in 4 bits: value = code(index) · absmax of its block; blocks run over the values in row-major order. */
export interface FourBitBlocks {
  readonly kind: FourBitKind;
  readonly blockSize: number;
  /** Number of values. */
  readonly size: number;
  /** Two indices a byte, the first in the high half; an odd number of values is filled up. */
  readonly codes: Uint8Array;
  /** Largest magnitude of each block. */
  readonly absmax: Float32Array;
}

// Quantiles of a normal distribution, 0 among them (QLoRA, appendix E).
const nf4 = Float32Array.of(
  ...[-1, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334],
  ...[-0.09105003625154495, 0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224],
  ...[0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1],
);
// A sign, then a number of 3 bits: in twelfths.
const fp4Magnitudes = [0, 0.0625, 8, 12, 4, 6, 2, 3];
const fp4 = Float32Array.from([...fp4Magnitudes, ...fp4Magnitudes.map((x) => -x)], (x) => x / 12);

/** The 16 numbers that an index stands for, times absmax (bitsandbytes' quant_map). */
export const fourBitCodes: Readonly<Record<FourBitKind, Float32Array>> = { nf4, fp4 };

/** Indices of the magnitudes from the least to the greatest. */
const fp4Order = [0, 1, 6, 7, 4, 5, 2, 3];

const bordersBetween = (sorted: ReadonlyArray<number>): Float32Array =>
  Float32Array.from(sorted.slice(1), (high, i) => ((sorted[i] ?? 0) + high) / 2);

const nf4Borders = bordersBetween([...nf4]);
const fp4Borders = bordersBetween(fp4Order.map((index) => fp4[index] ?? 0));

/** How many borders lie below x. On a border the lower code wins; NaN, from a block of zeros, counts as below all. */
const above = (x: number, borders: Float32Array): number => {
  let low = 0;
  let high = borders.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (x > (borders[middle] ?? NaN)) low = middle + 1;
    else high = middle;
  }
  return low;
};

const isNegative = (x: number): boolean => x < 0 || Object.is(x, -0);

/** Index of a value over its block's absmax. */
const nf4Index = (x: number): number => above(x, nf4Borders);
const fp4Index = (x: number, negative: boolean): number =>
  (fp4Order[above(Math.abs(x), fp4Borders)] ?? 0) | (negative ? 8 : 0);

const pack = (
  kind: FourBitKind,
  values: Float32Array,
  absmax: Float32Array,
  blockSize: number,
  negative: (x: number) => boolean,
): Uint8Array => {
  const codes = new Uint8Array(Math.ceil(values.length / 2));
  for (let block = 0; block < absmax.length; block++) {
    const inverse = Math.fround(1 / (absmax[block] ?? 0));
    const end = Math.min(values.length, (block + 1) * blockSize);
    for (let i = block * blockSize; i < end; i++) {
      const value = values[i] ?? 0;
      const scaled = Math.fround(value * inverse);
      const index = kind === 'nf4' ? nf4Index(scaled) : fp4Index(scaled, negative(scaled));
      const at = i >> 1;
      codes[at] = (codes[at] ?? 0) | (i % 2 === 0 ? index << 4 : index);
    }
  }
  return codes;
};

/** Codes of values that were made from codes at these scales: the same codes, whatever blocks of zeros held. */
export const fourBitCodesOf = (
  kind: FourBitKind,
  values: Float32Array,
  absmax: Float32Array,
  blockSize: number,
): Uint8Array => pack(kind, values, absmax, blockSize, isNegative);

/** The values in 4 bits: the nearest code of each over its block's largest magnitude. `blockSize`: 64 as bitsandbytes has it. */
export const quantizeFourBit = (values: Float32Array, kind: FourBitKind, blockSize = 64): FourBitBlocks => {
  const absmax = new Float32Array(Math.ceil(values.length / blockSize));
  for (let i = 0; i < values.length; i++) {
    const block = Math.floor(i / blockSize);
    absmax[block] = Math.max(absmax[block] ?? 0, Math.abs(values[i] ?? 0));
  }
  const codes = pack(kind, values, absmax, blockSize, (x) => x < 0);
  return { kind, blockSize, size: values.length, codes, absmax };
};

/** The values of 4-bit blocks, row-major: each code's value times its block's largest magnitude. */
export const dequantizeFourBit = ({ kind, blockSize, size, codes, absmax }: FourBitBlocks): Float32Array => {
  const values = new Float32Array(size);
  const map = fourBitCodes[kind];
  for (let i = 0; i < size; i++) {
    const byte = codes[i >> 1] ?? 0;
    const index = i % 2 === 0 ? byte >> 4 : byte & 15;
    values[i] = (map[index] ?? 0) * (absmax[Math.floor(i / blockSize)] ?? 0);
  }
  return values;
};
