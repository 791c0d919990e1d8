/** Double quantisation: the scales of 4-bit blocks kept in 8 bits themselves (QLoRA, section 3). */

/** scale = map[code] · absmax of its block + offset */
export interface NestedScales {
  readonly codes: Uint8Array;
  /** Largest magnitude of each block of scales, the offset taken off. */
  readonly absmax: Float32Array;
  /** Mean of the scales. */
  readonly offset: number;
  /** 256. */
  readonly blockSize: number;
}

const exponents = 7;

/**
 * The 256 numbers, sorted, that 8-bit codes stand for (bitsandbytes' dynamic map, "8-bit optimizers via block-wise quantization"):
 * for each power 10^-6 … 1 the midpoints of 1, 2, … 64 equal parts of [0.1, 1], with both signs; 0; and 1.
 */
export const dynamicMap: Float32Array = (() => {
  const codes: Array<number> = [0, 1];
  for (let exponent = 0; exponent < exponents; exponent++) {
    const parts = 2 ** exponent;
    const power = 10 ** (exponent - (exponents - 1));
    const step = Math.fround(Math.fround(0.9) / parts);
    // As torch.linspace has it in float32: counted from the nearer end.
    const border = (i: number): number =>
      i <= parts / 2 ? Math.fround(Math.fround(0.1) + step * i) : Math.fround(1 - step * (parts - i));
    for (let i = 0; i < parts; i++) {
      const middle = Math.fround(Math.fround(border(i) + border(i + 1)) / 2);
      const code = Math.fround(Math.fround(power) * middle);
      codes.push(code, -code);
    }
  }
  return Float32Array.from(codes).sort();
})();

/** Index of the nearest code; between two of the same distance the lower. */
const nearestCode = (x: number): number => {
  let low = 0;
  let high = dynamicMap.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const border = ((dynamicMap[middle] ?? 0) + (dynamicMap[middle + 1] ?? 0)) / 2;
    if (x > border) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** Subtracts the mean and quantises the rest to 8 bits in blocks of 256. */
export const nestScales = (scales: Float32Array, blockSize = 256): NestedScales => {
  let sum = 0;
  for (const scale of scales) sum += scale;
  const offset = scales.length === 0 ? 0 : Math.fround(sum / scales.length);
  const rest = scales.map((scale) => scale - offset);
  const absmax = new Float32Array(Math.ceil(scales.length / blockSize));
  rest.forEach((x, i) => {
    const block = Math.floor(i / blockSize);
    absmax[block] = Math.max(absmax[block] ?? 0, Math.abs(x));
  });
  const codes = Uint8Array.from(rest, (x, i) => {
    const inverse = Math.fround(1 / (absmax[Math.floor(i / blockSize)] ?? 0));
    const scaled = Math.fround(x * inverse);
    return Number.isFinite(scaled) ? nearestCode(scaled) : nearestCode(0);
  });
  return { codes, absmax, offset, blockSize };
};

/** The scales again, nearly. */
export const unnestScales = ({ codes, absmax, offset, blockSize }: NestedScales): Float32Array =>
  Float32Array.from(codes, (code, i) =>
    Math.fround(Math.fround((dynamicMap[code] ?? 0) * (absmax[Math.floor(i / blockSize)] ?? 0)) + offset),
  );
