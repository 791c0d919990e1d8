/**
 * JSON whose numbers are not forgotten where JavaScript reads two of Python's alike: `1.0` and `1e3` are floats to Python, which prints
 * them so, and integers beyond 2^53 keep all their digits. The values are plain numbers all the same: what was written is kept beside
 * their lists and objects.
 */

import { floatText } from './floatText.js';

/** A whole number written as a float, or the integer that was rounded. */
export type Written = 'float' | bigint;

type Numbers = ReadonlyMap<string, Written>;

const kept = new WeakMap<object, Map<string, Written>>();
/** Most data has none: then nothing is looked up. */
let any = false;

/** What was written, by key (or index) of a list or object; undefined where its numbers say it themselves. */
export const writtenNumbersOf = (container: object): Numbers | undefined => (any ? kept.get(container) : undefined);

/** A copy of an object's fields, its numbers known as those of the original, or of several whose fields it has. */
export const withNumbersOf = <A extends object>(original: object, copy: A, ...others: ReadonlyArray<object>): A => {
  if (!any) return copy;
  const known = [original, ...others].flatMap((one) => kept.get(one) ?? []);
  const [first, ...further] = known;
  if (first === undefined) return copy;
  kept.set(copy, further.length === 0 ? first : new Map(known.flatMap((numbers) => [...numbers])));
  return copy;
};

/** Tells how a number of a list or object was written; undefined where the number says it itself. */
const noteNumber = (container: object, key: string, written: Written | undefined): void => {
  const numbers = kept.get(container);
  if (written === undefined) {
    // Of a key that is there twice the last value counts.
    numbers?.delete(key);
    return;
  }
  any = true;
  if (numbers === undefined) kept.set(container, new Map([[key, written]]));
  else numbers.set(key, written);
};

/** Python reads no integer of more digits. */
const mostDigits = 4300;

/** What JavaScript's number does not tell of a number (or another word) of JSON. */
const writtenIn = (token: string): Written | undefined => {
  const value = Number(token);
  if (!Number.isInteger(value)) return undefined;
  if (/[.eE]/.test(token)) return 'float';
  return Number.isSafeInteger(value) || token.length > mostDigits ? undefined : BigInt(token);
};

/** Where the string that begins at `start` ends: the place of its closing quote. */
const closing = (text: string, start: number): number => {
  for (let at = text.indexOf('"', start + 1); at !== -1; at = text.indexOf('"', at + 1)) {
    let backslash = at;
    while (text[backslash - 1] === '\\') backslash--;
    if ((at - backslash) % 2 === 0) return at;
  }
  return text.length;
};

interface Open {
  /** What JSON.parse made of it; undefined where another value of the same key came after it. */
  readonly container: object | undefined;
  readonly isList: boolean;
  key: string;
  index: number;
}

const inside = ({ container, key }: Open): unknown =>
  container === undefined || !Object.hasOwn(container, key) ? undefined : (container as Record<string, unknown>)[key];

const asContainer = (value: unknown, isList: boolean): object | undefined =>
  typeof value === 'object' && value !== null && Array.isArray(value) === isList ? value : undefined;

const endsScalar = /[\s,\]}]/g;

/** Goes through JSON text beside its value, without recursion: text may nest deeper than the stack. */
const noteNumbers = (text: string, value: unknown): void => {
  const opened: Array<Open> = [];
  let expectsKey = false;
  for (let at = 0; at < text.length; at++) {
    const character = text[at] ?? '';
    const here = opened.at(-1);
    switch (character) {
      case '{':
      case '[': {
        const isList = character === '[';
        const own = here === undefined ? value : inside(here);
        opened.push({ container: asContainer(own, isList), isList, key: '0', index: 0 });
        expectsKey = !isList;
        break;
      }
      case '}':
      case ']':
        opened.pop();
        break;
      case ',':
        if (here?.isList === true) here.key = String(++here.index);
        expectsKey = here?.isList === false;
        break;
      case '"': {
        const end = closing(text, at);
        if (expectsKey && here !== undefined) {
          const token = text.slice(at, end + 1);
          here.key = token.includes('\\') ? String(JSON.parse(token)) : token.slice(1, -1);
          expectsKey = false;
        } else if (here?.container !== undefined) noteNumber(here.container, here.key, undefined);
        at = end;
        break;
      }
      case ':':
      case ' ':
      case '\t':
      case '\r':
      case '\n':
        break;
      default: {
        endsScalar.lastIndex = at;
        const end = endsScalar.exec(text)?.index ?? text.length;
        if (here?.container !== undefined) {
          noteNumber(here.container, here.key, writtenIn(text.slice(at, end)));
        }
        at = end - 1;
      }
    }
  }
};

/** No text that people write begins so. */
const mark = '\u0000number ';
const marked = /"\\u0000number ([^"]+)"/g;

/** `JSON.stringify`, numbers written as they were read. */
export const stringifyExactly = (value: unknown, indent: number): string => {
  if (!any) return JSON.stringify(value, null, indent);
  const text = JSON.stringify(
    value,
    function replaced(this: object, key, own: unknown) {
      if (typeof own !== 'number') return own;
      const written = writtenNumbersOf(this)?.get(key);
      if (written === 'float') return Number.isInteger(own) ? `${mark}${floatText(own)}` : own;
      return written !== undefined && Number(written) === own ? `${mark}${written}` : own;
    },
    indent,
  );
  return text.replace(marked, '$1');
};

/** A number at the place of a value: `n.0`, one with an exponent, or one of 16 digits. */
const telling = /[:[,]\s*-?\d+(?:\.0+(?!\d)|\d{15}|(?:\.\d+)?[eE])/;

/** False of text all of whose numbers JavaScript reads as Python does. */
export const mayLoseNumbers = (text: string): boolean => telling.test(text);

/** `JSON.parse`, what was written remembered. Text without such numbers costs no more than a look for them. */
export const parseJsonExactly = (text: string): unknown => {
  const value: unknown = JSON.parse(text);
  if (mayLoseNumbers(text)) noteNumbers(text, value);
  return value;
};
