/**
 * One seed, split into named independent streams. Every draw is a function of (seed, stream, counters), so a resumed run
 * needs no saved generator state: it asks for the same stream at the same counter.
 */

/** What randomness is for; streams with different names never share draws. */
export type RandomStream = 'shuffle' | 'dropout' | 'neftune' | 'init' | 'sample' | 'mix' | 'split';

/** Draws of one stream of random numbers: the same seed, stream and counters give the same ones. */
export interface Random {
  /** Uniform in [0, 1), 53 bits. */
  readonly uniform: () => number;
  /** Uniform integer in [0, n), unbiased. */
  readonly below: (n: number) => number;
  /** Standard normal (Box-Muller). */
  readonly normal: () => number;
}

const mix32 = (h: number): number => {
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
};

const absorb = (state: number, word: number): number => mix32((Math.imul(state, 0x9e3779b1) + word + 0x7f4a7c15) | 0);

/** A generator (sfc32, Chris Doty-Humphrey's PractRand) for one stream at the given counters. */
export const random = (seed: number, stream: RandomStream, ...counters: ReadonlyArray<number>): Random => {
  let key = absorb(mix32(seed | 0), Math.floor(seed / 0x1_0000_0000) | 0);
  for (let i = 0; i < stream.length; i++) key = absorb(key, stream.charCodeAt(i));
  for (const counter of counters) key = absorb(absorb(key, counter | 0), Math.floor(counter / 0x1_0000_0000) | 0);
  let a = absorb(key, 1);
  let b = absorb(key, 2);
  let c = absorb(key, 3);
  let d = 1;
  const next = (): number => {
    const t = (((a + b) | 0) + d) | 0;
    d = (d + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (c << 21) | (c >>> 11);
    c = (c + t) | 0;
    return t >>> 0;
  };
  for (let i = 0; i < 12; i++) next();
  const uniform = (): number => (next() * 0x20_0000 + (next() >>> 11)) / 0x20_0000_0000_0000;
  return {
    uniform,
    below: (n) => {
      // Rejection keeps every residue equally likely.
      const limit = Math.floor(0x1_0000_0000 / n) * n;
      let draw = next();
      while (draw >= limit) draw = next();
      return draw % n;
    },
    normal: () => Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()),
  };
};
