/** Trees as short programs for a matcher that never visits the same place of program and text twice. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import { nullable, type Syntax } from './syntax.js';

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
  | { readonly op: 'border'; readonly at: (Syntax & { readonly kind: 'border' })['at'] }
  | { readonly op: 'match' };

export interface Program {
  readonly code: ReadonlyArray<Instruction>;
  /** Number of each instruction that more than one way leads to, else -1: the places to remember. */
  readonly marks: Int32Array;
  readonly numMarks: number;
}

export interface Programs {
  /** The first is the whole; the others are what it looks ahead for. */
  readonly programs: ReadonlyArray<Program>;
  /** Sources and, of single characters, codes of the sets. */
  readonly sets: ReadonlyArray<{ readonly source: string; readonly code?: number }>;
}

/** Instructions of all programs of a pattern together. */
const longest = 4000;

class Unsupported extends Error {}

/** A set that holds what any of the options does; undefined where one is more than a character. */
const oneCharacter = (syntax: Syntax): { readonly source: string; readonly code?: number } | undefined => {
  if (syntax.kind === 'set') return syntax;
  if (syntax.kind !== 'choice') return undefined;
  const options = syntax.options.map(oneCharacter);
  return options.every((option) => option !== undefined)
    ? { source: options.map(({ source }) => source).join('|') }
    : undefined;
};

const marked = (code: ReadonlyArray<Instruction>): Pick<Program, 'marks' | 'numMarks'> => {
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
  return { marks, numMarks };
};

const compile = (whole: Syntax): Programs => {
  const programs: Array<Program> = [];
  const sets: Array<{ readonly source: string; readonly code?: number }> = [];
  const numbers = new Map<string, number>();
  let size = 0;

  const setNumber = (set: { readonly source: string; readonly code?: number }): number => {
    const known = numbers.get(set.source);
    if (known !== undefined) return known;
    numbers.set(set.source, sets.length);
    return sets.push(set) - 1;
  };

  const programOf = (syntax: Syntax): number => {
    const number = programs.push({ code: [], marks: new Int32Array(0), numMarks: 0 }) - 1;
    const code: Array<Instruction> = [];
    const emit = <A extends Instruction>(instruction: A): A => {
      if (++size > longest) throw new Unsupported('it is too large, its repetitions written out');
      code.push(instruction);
      return instruction;
    };
    /** A split whose first way begins right behind it; `lazy` tries the other first. */
    const optional = (lazy: boolean): ((exit: number) => void) => {
      const split = emit({ op: 'split', x: code.length + 1, y: code.length + 1 });
      return (exit) => {
        if (lazy) split.x = exit;
        else split.y = exit;
      };
    };
    const write = (part: Syntax): void => {
      switch (part.kind) {
        case 'set':
          emit({ op: 'set', x: setNumber(part) });
          return;
        case 'sequence':
          part.parts.forEach(write);
          return;
        case 'choice': {
          const ends: Array<{ op: 'jump'; x: number }> = [];
          part.options.forEach((option, i) => {
            if (i === part.options.length - 1) {
              write(option);
              return;
            }
            const otherwise = optional(false);
            write(option);
            ends.push(emit({ op: 'jump', x: 0 }));
            otherwise(code.length);
          });
          for (const end of ends) end.x = code.length;
          return;
        }
        case 'repeat': {
          const { body, min, max, lazy } = part;
          // Whether such a repetition goes on depends on where it began, which is not remembered.
          if (max > min && nullable(body)) throw new Unsupported('it repeats what may be empty');
          for (let i = 0; i < min; i++) write(body);
          if (max === Infinity) {
            const begin = code.length;
            const leave = optional(lazy);
            write(body);
            emit({ op: 'jump', x: begin });
            leave(code.length);
            return;
          }
          const leaves = Array.from({ length: max - min }, () => {
            const leave = optional(lazy);
            write(body);
            return leave;
          });
          for (const leave of leaves) leave(code.length);
          return;
        }
        case 'look': {
          const { body, ahead, negated } = part;
          if (ahead) {
            emit({ op: 'ahead', x: programOf(body), negated });
            return;
          }
          const set = oneCharacter(body);
          if (set === undefined) throw new Unsupported('it looks back at more than a character');
          emit({ op: 'behind', x: setNumber(set), negated });
          return;
        }
        case 'border':
          emit({ op: 'border', at: part.at });
      }
    };
    write(syntax);
    emit({ op: 'match' });
    programs[number] = { code, ...marked(code) };
    return number;
  };

  programOf(whole);
  return { programs, sets };
};

/** Left: why the tree has no program. */
export const compileRegex = (syntax: Syntax): Either<string, Programs> => {
  try {
    return right(compile(syntax));
  } catch (cause) {
    if (cause instanceof Unsupported) return left(cause.message);
    throw cause;
  }
};
