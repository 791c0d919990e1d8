/**
 * MXFP4 of the Open Compute Project (MX specification 1.0): blocks of 32 numbers of 4 bits (E2M1), two a byte, the first in the low
 * half, which share a power of two, a byte of exponent + 127 (E8M0).
 */

/** Numbers of the codes 0 … 7; 8 … 15 are the same below 0. */
const magnitudes = [0, 0.5, 1, 1.5, 2, 3, 4, 6];

/** Numbers that share an exponent. */
export const mxfp4Block = 32;

/** The upper half of the bits of each code's float32 under each exponent, at 16 · exponent + code: no value of MXFP4 has more. */
const bfloat16Table = (): Uint16Array => {
  const floats = Float32Array.from({ length: 256 * 16 }, (_, at) => {
    const magnitude = (magnitudes[at % 8] ?? 0) * 2 ** (Math.floor(at / 16) - 127);
    return at % 16 < 8 ? magnitude : -magnitude;
  });
  const bits = new Uint32Array(floats.buffer);
  return Uint16Array.from(bits, (whole) => whole >>> 16);
};

let table: Uint16Array | undefined;

/**
 * Values as bfloat16, exact. `codes` has 16 bytes a block, `exponents` a byte; they go to `to`, 32 a block, one after the other.
 */
export const decodeMxfp4 = (codes: Uint8Array, exponents: Uint8Array, to: Uint16Array): void => {
  table ??= bfloat16Table();
  for (let block = 0; block < exponents.length; block++) {
    const row = 16 * (exponents[block] ?? 0);
    for (let i = 16 * block; i < 16 * (block + 1); i++) {
      const both = codes[i] ?? 0;
      to[2 * i] = table[row + (both & 15)] ?? 0;
      to[2 * i + 1] = table[row + (both >> 4)] ?? 0;
    }
  }
};
