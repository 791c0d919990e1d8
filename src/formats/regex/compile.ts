/** Trees of regular expressions → programs. */
import type { Either } from 'fp-ts/lib/Either.js';
import { type CharacterSet, type Instruction, type Program, programOf, type Programs } from './program.js';
import { nullable, type Syntax, type SyntaxOf } from './syntax.js';
import { orReason, Unsupported } from './unsupported.js';

/** Instructions of all programs of a pattern together. */
const longest = 4000;

/** What a pattern has given so far. */
interface Pattern {
  readonly programs: Array<Program>;
  readonly sets: Array<CharacterSet>;
  /** Of each set its number, by source. */
  readonly numbers: Map<string, number>;
  /** Instructions that have been written. */
  size: number;
}

/** One of its programs in the making. */
interface Writing {
  readonly pattern: Pattern;
  readonly code: Array<Instruction>;
}

const numberOfSet = ({ sets, numbers }: Pattern, set: CharacterSet): number => {
  const known = numbers.get(set.source);
  if (known !== undefined) return known;
  numbers.set(set.source, sets.length);
  return sets.push(set) - 1;
};

/** A set that holds what any of the options does; undefined where one is more than a character. */
const oneCharacter = (syntax: Syntax): CharacterSet | undefined => {
  if (syntax.kind === 'set') return syntax;
  if (syntax.kind !== 'choice') return undefined;
  const options = syntax.options.map(oneCharacter);
  return options.every((option) => option !== undefined)
    ? { source: options.map(({ source }) => source).join('|') }
    : undefined;
};

const emit = <A extends Instruction>({ pattern, code }: Writing, instruction: A): A => {
  if (++pattern.size > longest) throw new Unsupported('it is too large, its repetitions written out');
  code.push(instruction);
  return instruction;
};

/** A split whose first way begins right behind it; `lazy` tries the other first, which is told when it is known. */
const optional = (w: Writing, lazy: boolean): ((exit: number) => void) => {
  const behind = w.code.length + 1;
  const split = emit(w, { op: 'split', x: behind, y: behind });
  return (exit) => {
    if (lazy) split.x = exit;
    else split.y = exit;
  };
};

const writeChoice = (w: Writing, { options }: SyntaxOf<'choice'>): void => {
  const ends: Array<{ x: number }> = [];
  options.forEach((option, i) => {
    if (i === options.length - 1) {
      write(w, option);
      return;
    }
    const otherwise = optional(w, false);
    write(w, option);
    ends.push(emit(w, { op: 'jump', x: 0 }));
    otherwise(w.code.length);
  });
  for (const end of ends) end.x = w.code.length;
};

/** Any number of times. */
const writeLoop = (w: Writing, body: Syntax, lazy: boolean): void => {
  const begin = w.code.length;
  const leave = optional(w, lazy);
  write(w, body);
  emit(w, { op: 'jump', x: begin });
  leave(w.code.length);
};

/** Up to so many times. */
const writeOptions = (w: Writing, body: Syntax, length: number, lazy: boolean): void => {
  const leaves = Array.from({ length }, () => {
    const leave = optional(w, lazy);
    write(w, body);
    return leave;
  });
  for (const leave of leaves) leave(w.code.length);
};

const writeRepeat = (w: Writing, { body, min, max, lazy }: SyntaxOf<'repeat'>): void => {
  // Whether such a repetition goes on depends on where it began, which is not remembered.
  if (max > min && nullable(body)) throw new Unsupported('it repeats what may be empty');
  for (let i = 0; i < min; i++) write(w, body);
  if (max === Infinity) writeLoop(w, body, lazy);
  else writeOptions(w, body, max - min, lazy);
};

const writeLook = (w: Writing, { body, ahead, negated }: SyntaxOf<'look'>): void => {
  if (ahead) {
    emit(w, { op: 'ahead', x: addProgram(w.pattern, body), negated });
    return;
  }
  const set = oneCharacter(body);
  if (set === undefined) throw new Unsupported('it looks back at more than a character');
  emit(w, { op: 'behind', x: numberOfSet(w.pattern, set), negated });
};

const write = (w: Writing, part: Syntax): void => {
  switch (part.kind) {
    case 'set':
      emit(w, { op: 'set', x: numberOfSet(w.pattern, part) });
      return;
    case 'sequence':
      for (const one of part.parts) write(w, one);
      return;
    case 'choice':
      writeChoice(w, part);
      return;
    case 'repeat':
      writeRepeat(w, part);
      return;
    case 'look':
      writeLook(w, part);
      return;
    case 'border':
      emit(w, { op: 'border', at: part.at });
  }
};

/** Its number among the programs; those that it looks ahead with come behind it. */
const addProgram = (pattern: Pattern, syntax: Syntax): number => {
  const number = pattern.programs.push(programOf([])) - 1;
  const writing: Writing = { pattern, code: [] };
  write(writing, syntax);
  emit(writing, { op: 'match' });
  pattern.programs[number] = programOf(writing.code);
  return number;
};

/** Left: why the tree has no program. */
export const compileRegex = (syntax: Syntax): Either<string, Programs> =>
  orReason(() => {
    const pattern: Pattern = { programs: [], sets: [], numbers: new Map(), size: 0 };
    addProgram(pattern, syntax);
    return { programs: pattern.programs, sets: pattern.sets };
  });
