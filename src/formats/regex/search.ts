/**
 * Matching as JavaScript does, first way first, in time that grows with the text and the pattern but no faster than their product: a
 * place of the program and the text that has failed once is never tried again, nor at the next match. (Backtracking with memory; R.
 * Cox, "Regular Expression Matching: the Virtual Machine Approach", 2009.)
 */
import type { Instruction, Programs } from './program.js';

/** What is known of the places of one text, one program. */
interface Known {
  /** A word of bits or more a position: the marked instructions that have been tried there. */
  readonly tried: Int32Array;
  /** The same of those that matched, for programs whose end does not matter. */
  readonly matched: Int32Array;
  readonly words: number;
}

const at = <A>(list: ReadonlyArray<A>, i: number): A => {
  const found = list[i];
  if (found === undefined) throw new RangeError(`${i} lies outside ${list.length}`);
  return found;
};

const isHigh = (unit: number): boolean => (unit & 0xfc00) === 0xd800;
const isLow = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;

/** Whether a character belongs to a set: asked of JavaScript once for each character that turns up. */
const makeSet = ({ source, code }: Programs['sets'][number], unicode: boolean): ((character: number) => boolean) => {
  if (code !== undefined) return (character) => character === code;
  const expression = new RegExp(`^(?:${source})$`, unicode ? 'u' : '');
  const table = new Uint8Array(1 << 16);
  const beyond = new Map<number, boolean>();
  const ask = (character: number): boolean => expression.test(String.fromCodePoint(character));
  return (character) => {
    if (character >= 1 << 16) {
      const known = beyond.get(character) ?? ask(character);
      beyond.set(character, known);
      return known;
    }
    const known = table[character] ?? 0;
    if (known !== 0) return known === 2;
    const belongs = ask(character);
    table[character] = belongs ? 2 : 1;
    return belongs;
  };
};

const isWord = (unit: number): boolean =>
  (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x30 && unit <= 0x39) || unit === 0x5f;

type Border = (Instruction & { readonly op: 'border' })['at'];

const holdsAt = (text: string, position: number, border: Border): boolean => {
  if (border === 'start') return position === 0;
  if (border === 'end') return position === text.length;
  const before = position > 0 && isWord(text.charCodeAt(position - 1));
  const behind = position < text.length && isWord(text.charCodeAt(position));
  return (before !== behind) === (border === 'word');
};

/** Positions that wait to be tried, in a stack of three numbers each: instruction, position, what led there. */
interface Stack {
  values: Int32Array;
  length: number;
}

const push = (stack: Stack, pc: number, position: number, parent: number): void => {
  if (stack.length + 3 > stack.values.length) {
    const larger = new Int32Array(stack.values.length * 2);
    larger.set(stack.values);
    stack.values = larger;
  }
  stack.values[stack.length++] = pc;
  stack.values[stack.length++] = position;
  stack.values[stack.length++] = parent;
};

export interface Search {
  /** [start, end) of all matches one after another, flat, as `matchAll` finds them with the flag g. */
  readonly spans: (text: string) => ReadonlyArray<number>;
  readonly test: (text: string) => boolean;
  /** The first match. */
  readonly first: (text: string) => string | undefined;
}

export const makeSearch = ({ programs, sets }: Programs, unicode: boolean): Search => {
  const holds = sets.map((set) => makeSet(set, unicode));
  const stacks = programs.map((): Stack => ({ values: new Int32Array(96), length: 0 }));

  const codeAt = (text: string, position: number): number => {
    const unit = text.charCodeAt(position);
    if (!unicode || !isHigh(unit) || position + 1 >= text.length) return unit;
    const low = text.charCodeAt(position + 1);
    return isLow(low) ? 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00) : unit;
  };
  const codeBefore = (text: string, position: number): number => {
    const unit = text.charCodeAt(position - 1);
    if (!unicode || !isLow(unit) || position < 2 || !isHigh(text.charCodeAt(position - 2))) return unit;
    return codeAt(text, position - 2);
  };

  const unknown = (text: string): ReadonlyArray<Known> =>
    programs.map(({ numMarks }, i) => {
      const words = Math.max(1, Math.ceil(numMarks / 32));
      const size = words * (text.length + 1);
      return { words, tried: new Int32Array(size), matched: new Int32Array(i === 0 ? 0 : size) };
    });

  /** Where the program's match from `start` on ends, -1 for none. Of what looks ahead the end means nothing. */
  const run = (text: string, index: number, start: number, known: ReadonlyArray<Known>): number => {
    const { code, marks } = at(programs, index);
    const { tried, matched, words } = at(known, index);
    const looks = index > 0;
    const stack = at(stacks, index);
    stack.length = 0;
    // Of a program that looks ahead: marked places and what led there, so that all that matched is known to.
    const trail: Array<number> = [];
    const succeed = (parent: number): void => {
      for (let place = parent; place >= 0; place = trail[place + 2] ?? -1) {
        const word = trail[place] ?? 0;
        matched[word] = (matched[word] ?? 0) | (trail[place + 1] ?? 0);
      }
    };
    push(stack, 0, start, -1);
    while (stack.length > 0) {
      let parent = stack.values[--stack.length] ?? 0;
      let position = stack.values[--stack.length] ?? 0;
      let pc = stack.values[--stack.length] ?? 0;
      for (let alive = true; alive; ) {
        const mark = marks[pc] ?? -1;
        if (mark >= 0) {
          const word = position * words + (mark >> 5);
          const bit = 1 << (mark & 31);
          if (looks && ((matched[word] ?? 0) & bit) !== 0) {
            succeed(parent);
            return position;
          }
          if (((tried[word] ?? 0) & bit) !== 0) break;
          tried[word] = (tried[word] ?? 0) | bit;
          if (looks) parent = trail.push(word, bit, parent) - 3;
        }
        const instruction = at(code, pc);
        switch (instruction.op) {
          case 'set': {
            const character = position < text.length ? codeAt(text, position) : -1;
            if (character >= 0 && holds[instruction.x]?.(character) === true) {
              position += character > 0xffff ? 2 : 1;
              pc++;
            } else alive = false;
            break;
          }
          case 'split':
            push(stack, instruction.y, position, parent);
            pc = instruction.x;
            break;
          case 'jump':
            pc = instruction.x;
            break;
          case 'ahead':
            if (run(text, instruction.x, position, known) >= 0 === instruction.negated) alive = false;
            else pc++;
            break;
          case 'behind': {
            const found = position > 0 && holds[instruction.x]?.(codeBefore(text, position)) === true;
            if (found === instruction.negated) alive = false;
            else pc++;
            break;
          }
          case 'border':
            if (holdsAt(text, position, instruction.at)) pc++;
            else alive = false;
            break;
          case 'match':
            if (looks) succeed(parent);
            return position;
        }
      }
    }
    return -1;
  };

  const each = (text: string, visit: (start: number, end: number) => boolean): void => {
    const known = unknown(text);
    const { tried, words } = at(known, 0);
    for (let position = 0; position <= text.length; ) {
      const end = run(text, 0, position, known);
      if (end >= 0) {
        if (!visit(position, end)) return;
        // On the way to the match no place has failed; beyond its end all that were tried have.
        tried.fill(0, end * words, (end + 1) * words);
      }
      if (end > position) position = end;
      else position += position < text.length && codeAt(text, position) > 0xffff ? 2 : 1;
    }
  };

  const first = (text: string): string | undefined => {
    let found: string | undefined;
    each(text, (start, end) => {
      found = text.slice(start, end);
      return false;
    });
    return found;
  };

  return {
    spans: (text) => {
      const found: Array<number> = [];
      each(text, (start, end) => {
        found.push(start, end);
        return true;
      });
      return found;
    },
    test: (text) => first(text) !== undefined,
    first,
  };
};
