/** Double quantisation: the scales of 4-bit blocks kept in 8 bits themselves (QLoRA, section 3). */
import { dynamicMap, nearestCode } from './dynamicMap.js';

/** Scales that are in 8 bits themselves: scale = map[code] · absmax of its block + offset. */
export interface NestedScales {
  readonly codes: Uint8Array;
  /** Largest magnitude of each block of scales, the offset taken off. */
  readonly absmax: Float32Array;
  /** Mean of the scales. */
  readonly offset: number;
  /** 256. */
  readonly blockSize: number;
}

/** The scales in 8 bits: their mean, and what is left without it in blocks of `blockSize` (256). */
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
    return Number.isFinite(scaled) ? nearestCode(dynamicMap, scaled) : nearestCode(dynamicMap, 0);
  });
  return { codes, absmax, offset, blockSize };
};

/** The scales again, nearly. */
export const unnestScales = ({ codes, absmax, offset, blockSize }: NestedScales): Float32Array =>
  Float32Array.from(codes, (code, i) =>
    Math.fround(Math.fround((dynamicMap[code] ?? 0) * (absmax[Math.floor(i / blockSize)] ?? 0)) + offset),
  );
