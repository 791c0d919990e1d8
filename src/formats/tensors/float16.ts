/**
 * The two 16-bit floats. To float32 is exact; from float32 rounds to nearest, ties to even, as PyTorch does. Both directions
 * work on whole arrays: a call a number would cost more than the conversion.
 */

/** Bits of float32 numbers, without a copy. */
const bitsOf = (values: Float32Array): Uint32Array => new Uint32Array(values.buffer, values.byteOffset, values.length);

/** bfloat16 is the upper half of a float32. */
export const bfloat16ToFloat32 = (bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array => {
  const wide = bitsOf(out);
  for (let i = 0; i < bits.length; i++) wide[i] = (bits[i] ?? 0) << 16;
  return out;
};

/** NaN stays NaN (quiet); what rounds past the largest bfloat16 becomes infinite. */
export const float32ToBfloat16 = (values: Float32Array, out = new Uint16Array(values.length)): Uint16Array => {
  const wide = bitsOf(values);
  for (let i = 0; i < wide.length; i++) {
    const bits = wide[i] ?? 0;
    out[i] = (bits & 0x7fffffff) > 0x7f800000 ? (bits >>> 16) | 0x40 : (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
  }
  return out;
};

const halfBitsToFloat32Bits = (half: number): number => {
  const sign = (half & 0x8000) << 16;
  const exponent = (half >>> 10) & 0x1f;
  const fraction = half & 0x3ff;
  if (exponent === 0x1f) return sign | 0x7f800000 | (fraction << 13);
  if (exponent !== 0) return sign | ((exponent + 112) << 23) | (fraction << 13);
  if (fraction === 0) return sign;
  // Subnormal: shift the leading one into place.
  const shift = Math.clz32(fraction) - 21;
  return sign | ((113 - shift) << 23) | (((fraction << shift) & 0x3ff) << 13);
};

/** All 65536 halves (256 KiB), made on first use: a look-up is faster than the branches above. */
let table: Uint32Array | undefined;

export const float16ToFloat32 = (bits: Uint16Array, out = new Float32Array(bits.length)): Float32Array => {
  const known = (table ??= Uint32Array.from({ length: 65536 }, (_, half) => halfBitsToFloat32Bits(half)));
  const wide = bitsOf(out);
  for (let i = 0; i < bits.length; i++) wide[i] = known[bits[i] ?? 0] ?? 0;
  return out;
};

const float32BitsToHalfBits = (bits: number): number => {
  const sign = (bits >>> 16) & 0x8000;
  const magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x3ff);
  // 65520 and more round to infinity.
  if (magnitude >= 0x477ff000) return sign | 0x7c00;
  if (magnitude >= 0x38800000) {
    const rebased = magnitude - 0x38000000;
    return sign | ((rebased + 0xfff + ((rebased >>> 13) & 1)) >>> 13);
  }
  // Subnormal in half precision: count in units of 2^-24.
  const shift = 126 - (magnitude >>> 23);
  if (shift > 24) return sign;
  const fraction = (magnitude & 0x7fffff) | 0x800000;
  const rest = fraction & ((1 << shift) - 1);
  const half = 1 << (shift - 1);
  const whole = fraction >>> shift;
  return sign | (whole + (rest > half || (rest === half && (whole & 1) === 1) ? 1 : 0));
};

/** NaN stays NaN (quiet); what rounds past 65504 becomes infinite. */
export const float32ToFloat16 = (values: Float32Array, out = new Uint16Array(values.length)): Uint16Array => {
  const wide = bitsOf(values);
  for (let i = 0; i < wide.length; i++) out[i] = float32BitsToHalfBits(wide[i] ?? 0);
  return out;
};
