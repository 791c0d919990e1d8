/** What trials are made of: sizes are odd on purpose; numbers come from a seed, since shrinking single ones teaches nothing. */
import fc from 'fast-check';
import type { Values } from '../../../test/native.js';

export const size = (largest: number): fc.Arbitrary<number> =>
  fc
    .oneof(fc.constantFrom(1, 2, 3, 7, 15, 16, 17, 31, 33), fc.integer({ min: 1, max: largest }))
    .filter((n) => n <= largest);

const draws = (seed: number): (() => number) => {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
};

/** Makes matrices, vectors and rows of one trial from its seed. */
export const maker = (seed: number) => {
  const next = draws(seed);
  const values = (...shape: ReadonlyArray<number>): Values => ({
    shape,
    values: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, () => 2 * next() - 1),
  });
  const below = (n: number): number => Math.min(n - 1, Math.floor(next() * n));
  const positive = (...shape: ReadonlyArray<number>): Values => {
    const v = values(...shape);
    return { shape, values: v.values.map((x) => Math.abs(x) + 0.1) };
  };
  const ids = (length: number, n: number): Int32Array => Int32Array.from({ length }, () => below(n));
  const maybe = <A>(make: () => A): A | undefined => (next() < 0.5 ? undefined : make());
  return { values, positive, below, ids, maybe, next };
};

export const seeds = fc.integer();
export const kinds = fc.constantFrom('gelu', 'gelu_new', 'relu', 'silu', 'quick_gelu', 'relu2', 'sigmoid');

/** Borders of documents that together have n tokens, empty ones among them. */
export const borders = (n: number, make: ReturnType<typeof maker>): Int32Array => {
  const cuts = Array.from({ length: make.below(4) }, () => make.below(n + 1)).sort((a, b) => a - b);
  return Int32Array.from([0, ...cuts, n]);
};
