/**
 * Matching as JavaScript does, first way first, in time that grows with the text and the pattern but no faster than their product: a
 * place of the program and the text that has failed once is never tried again, nor at the next match. (Backtracking with memory; R.
 * Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009.)
 */
import { isBorder } from './border.js';
import type { Belongs } from './characterSet.js';
import { characterAt, characterBefore, widthOf } from './characters.js';
import { add, has, type Known } from './known.js';
import type { InstructionOf, Program } from './program.js';
import { pop, push, type Waiting } from './waiting.js';

/** A text under the programs of a pattern. Lists by program, sets by their number. */
export interface Reading {
  readonly text: string;
  readonly unicode: boolean;
  readonly programs: ReadonlyArray<Program>;
  readonly sets: ReadonlyArray<Belongs>;
  readonly waiting: ReadonlyArray<Waiting>;
  readonly known: ReadonlyArray<Known>;
}

/** Of a program that looks ahead: places, each a word, a bit and the number of the place that led there, -1 for none. */
type Trail = Array<number>;

const at = <A>(list: ReadonlyArray<A>, i: number): A => {
  const found = list[i];
  if (found === undefined) throw new RangeError(`${i} lies outside ${list.length}`);
  return found;
};

/** All places that led to `last` are known to match. */
const succeed = ({ matched }: Known, trail: Trail, last: number): void => {
  for (let place = last; place >= 0; place = trail[place + 2] ?? -1) {
    add(matched, trail[place] ?? 0, trail[place + 1] ?? 0);
  }
};

/** Whether what is asked of a position holds there. */
const holds = (
  reading: Reading,
  instruction: InstructionOf<'ahead' | 'behind' | 'border'>,
  position: number,
): boolean => {
  const { text, unicode, sets } = reading;
  switch (instruction.op) {
    case 'ahead':
      return endOfMatch(reading, instruction.x, position) >= 0 !== instruction.negated;
    case 'behind': {
      const found = position > 0 && sets[instruction.x]?.(characterBefore(text, position, unicode)) === true;
      return found !== instruction.negated;
    }
    case 'border':
      return isBorder(text, position, instruction.at);
  }
};

/** Where the match of a program from a position on ends, -1 for none. Of what looks ahead the end means nothing. */
export const endOfMatch = (reading: Reading, number: number, start: number): number => {
  const { text, unicode, sets } = reading;
  const { code, marks } = at(reading.programs, number);
  const known = at(reading.known, number);
  const { words, tried, matched } = known;
  const waiting = at(reading.waiting, number);
  const looks = number > 0;
  const trail: Trail = [];
  waiting.length = 0;
  push(waiting, 0, start, -1);
  ways: while (waiting.length > 0) {
    let led = pop(waiting);
    let position = pop(waiting);
    let pc = pop(waiting);
    for (;;) {
      const mark = marks[pc] ?? -1;
      if (mark >= 0) {
        const word = position * words + (mark >> 5);
        const bit = 1 << (mark & 31);
        if (looks && has(matched, word, bit)) {
          succeed(known, trail, led);
          return position;
        }
        if (has(tried, word, bit)) continue ways;
        add(tried, word, bit);
        if (looks) led = trail.push(word, bit, led) - 3;
      }
      const instruction = at(code, pc);
      switch (instruction.op) {
        case 'set': {
          if (position >= text.length) continue ways;
          const character = characterAt(text, position, unicode);
          if (sets[instruction.x]?.(character) !== true) continue ways;
          position += widthOf(character);
          pc++;
          break;
        }
        case 'split':
          push(waiting, instruction.y, position, led);
          pc = instruction.x;
          break;
        case 'jump':
          pc = instruction.x;
          break;
        case 'match':
          if (looks) succeed(known, trail, led);
          return position;
        default:
          if (!holds(reading, instruction, position)) continue ways;
          pc++;
      }
    }
  }
  return -1;
};
