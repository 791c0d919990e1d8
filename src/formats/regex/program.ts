/** Short programs for a matcher that never visits the same place of program and text twice. */
import type { SyntaxOf } from './syntax.js';

export type Instruction =
  /** One character of the set `x`. */
  | { readonly op: 'set'; readonly x: number }
  /** Goes on at `x`, and at `y` when that fails. */
  | { op: 'split'; x: number; y: number }
  | { op: 'jump'; x: number }
  /** What program `x` matches from here on, or does not. */
  | { readonly op: 'ahead'; readonly x: number; readonly negated: boolean }
  /** A character of the set `x` lies before, or does not. */
  | { readonly op: 'behind'; readonly x: number; readonly negated: boolean }
  | { readonly op: 'border'; readonly at: SyntaxOf<'border'>['at'] }
  | { readonly op: 'match' };

/** The instruction of this kind. */
export type InstructionOf<O extends Instruction['op']> = Instruction & { readonly op: O };

export interface Program {
  readonly code: ReadonlyArray<Instruction>;
  /** Number of each instruction that more than one way leads to, else -1: the places to remember. */
  readonly marks: Int32Array;
  readonly numMarks: number;
}

/** A set of characters: its source and, where it is but one, its code. */
export interface CharacterSet {
  readonly source: string;
  readonly code?: number;
}

export interface Programs {
  /** The first is the whole; the others are what it looks ahead for. */
  readonly programs: ReadonlyArray<Program>;
  readonly sets: ReadonlyArray<CharacterSet>;
}

/** A program of these instructions, those marked that more than one way leads to. */
export const programOf = (code: ReadonlyArray<Instruction>): Program => {
  const ways = new Int32Array(code.length);
  const arrive = (at: number): void => {
    ways[at] = (ways[at] ?? 0) + 1;
  };
  // It begins there, at every place of the text.
  arrive(0);
  code.forEach((instruction, at) => {
    if (instruction.op === 'jump') arrive(instruction.x);
    else if (instruction.op === 'split') {
      arrive(instruction.x);
      arrive(instruction.y);
    } else if (instruction.op !== 'match') arrive(at + 1);
  });
  let numMarks = 0;
  const marks = ways.map((count, at) => (count > 1 && code[at]?.op !== 'match' ? numMarks++ : -1));
  return { code, marks, numMarks };
};
