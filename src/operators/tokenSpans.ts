/**
 * Spans of characters carried to tokens. `offsets` [2n] hold the UTF-16 [start, end) of each token. A token of no width (BOS and
 * EOS that the post-processor adds, the later bytes of a character cut in several) goes with the token before it; in front of
 * all others it stands outside every span.
 */
import type { Span, WeightedSpan } from '../records.js';

const startOf = (offsets: Int32Array, t: number): number => offsets[2 * t] ?? 0;
const endOf = (offsets: Int32Array, t: number): number => offsets[2 * t + 1] ?? 0;

/** 1 for tokens that begin at or behind the border; `crossed` when one covers characters on both sides of it. */
export const tokensFrom = (
  offsets: Int32Array,
  border: number,
): { readonly mask: Uint8Array; readonly crossed: boolean } => {
  const mask = new Uint8Array(offsets.length / 2);
  let crossed = false;
  let last = 0;
  for (let t = 0; t < mask.length; t++) {
    const start = startOf(offsets, t);
    const end = endOf(offsets, t);
    if (end > start) {
      last = start >= border ? 1 : 0;
      if (start < border && end > border) crossed = true;
    }
    mask[t] = last;
  }
  return { mask, crossed };
};

/** 1 for tokens that cover any character of a span. Spans increase and do not overlap. */
export const tokensWithin = (offsets: Int32Array, spans: ReadonlyArray<Span>): Uint8Array => {
  const mask = new Uint8Array(offsets.length / 2);
  let last = 0;
  let s = 0;
  for (let t = 0; t < mask.length; t++) {
    const start = startOf(offsets, t);
    const end = endOf(offsets, t);
    if (end > start) {
      while (s < spans.length && (spans[s]?.end ?? 0) <= start) s++;
      const span = spans[s];
      last = span !== undefined && span.start < end && span.end > span.start ? 1 : 0;
    }
    mask[t] = last;
  }
  return mask;
};

/** Each token's value: that of the first span it covers a character of, `outside` elsewhere. Spans increase and do not overlap. */
export const valuesAt = (
  offsets: Int32Array,
  spans: ReadonlyArray<Span & { readonly value: number }>,
  outside: number,
): Float32Array => {
  const values = new Float32Array(offsets.length / 2);
  let last = outside;
  let s = 0;
  for (let t = 0; t < values.length; t++) {
    const start = startOf(offsets, t);
    const end = endOf(offsets, t);
    if (end > start) {
      while (s < spans.length && (spans[s]?.end ?? 0) <= start) s++;
      const span = spans[s];
      last = span !== undefined && span.start < end ? span.value : outside;
    }
    values[t] = last;
  }
  return values;
};

/** Each token's loss weight, 1 outside all spans. */
export const weightsAt = (offsets: Int32Array, spans: ReadonlyArray<WeightedSpan>): Float32Array =>
  valuesAt(
    offsets,
    spans.map(({ weight, ...span }) => ({ ...span, value: weight })),
    1,
  );
