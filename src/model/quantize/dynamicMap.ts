/**
 * The 256 numbers that 8-bit codes stand for (bitsandbytes' dynamic maps; Dettmers 2016, "8-bit approximations for parallelism in
 * deep learning"): close together near 0, where most of a block lies, with 0 and 1 among them.
 */

const exponents = 7;

/**
 * For each power 10^-6 … 1 the midpoints of equal parts of [0.1, 1]: 1, 2, … 64 of them with both signs, or 2, 4, … 128 with none;
 * then 0 and 1. Sorted.
 */
const mapOf = (signed: boolean): Float32Array => {
  const codes: Array<number> = [0, 1];
  for (let exponent = 0; exponent < exponents; exponent++) {
    const parts = 2 ** (signed ? exponent : exponent + 1);
    const power = 10 ** (exponent - (exponents - 1));
    const step = Math.fround(Math.fround(0.9) / parts);
    // As torch.linspace has it in float32: counted from the nearer end.
    const border = (i: number): number =>
      i <= parts / 2 ? Math.fround(Math.fround(0.1) + step * i) : Math.fround(1 - step * (parts - i));
    for (let i = 0; i < parts; i++) {
      const middle = Math.fround(Math.fround(border(i) + border(i + 1)) / 2);
      const code = Math.fround(Math.fround(power) * middle);
      codes.push(code);
      if (signed) codes.push(-code);
    }
  }
  return Float32Array.from(codes).sort();
};

/** For numbers of [-1, 1]; the lowest is -0.993, code 127 is 0. */
export const dynamicMap: Float32Array = mapOf(true);

/** For numbers of [0, 1]; code 0 is 0. */
export const unsignedDynamicMap: Float32Array = mapOf(false);

/** Index of the nearest of a map's numbers; between two of the same distance the lower. */
export const nearestCode = (map: Float32Array, x: number): number => {
  let low = 0;
  let high = map.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    const border = ((map[middle] ?? 0) + (map[middle + 1] ?? 0)) / 2;
    if (x > border) low = middle + 1;
    else high = middle;
  }
  return low;
};
