/** What is known of the places of one program and one text, a place being a marked instruction at a position. */
import type { Program } from './program.js';

/** Sets of places: a word of bits or more for each position. */
export interface Known {
  readonly words: number;
  /** Places that have been tried. */
  readonly tried: Int32Array;
  /** Places that matched, of a program that looks ahead: its end does not matter, so they need not be tried again. */
  readonly matched: Int32Array;
}

/** Nothing, of all programs. */
export const nothingKnown = (programs: ReadonlyArray<Program>, text: string): ReadonlyArray<Known> =>
  programs.map(({ numMarks }, i) => {
    const words = Math.max(1, Math.ceil(numMarks / 32));
    const size = words * (text.length + 1);
    return { words, tried: new Int32Array(size), matched: new Int32Array(i === 0 ? 0 : size) };
  });

/** The tried places of a position are forgotten. */
export const forgetTried = ({ words, tried }: Known, position: number): void => {
  tried.fill(0, position * words, (position + 1) * words);
};

export const has = (places: Int32Array, word: number, bit: number): boolean => ((places[word] ?? 0) & bit) !== 0;

export const add = (places: Int32Array, word: number, bit: number): void => {
  places[word] = (places[word] ?? 0) | bit;
};
