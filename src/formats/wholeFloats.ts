/**
 * JSON whose whole floats are not forgotten: `1.0` is a float to Python, which prints it so; JavaScript reads it as it reads `1`. The
 * values are plain numbers all the same: which of them were written with `.0` is kept beside their lists and objects.
 */

const kept = new WeakMap<object, Set<string>>();
/** Most data has none: then nothing is looked up. */
let any = false;

/** Keys (or indices) of a list or object whose numbers were written as whole floats; undefined where there are none. */
export const wholeFloatsOf = (container: object): ReadonlySet<string> | undefined =>
  any ? kept.get(container) : undefined;

/** A copy of an object's fields, its whole floats known as those of the original, or of several whose fields it has. */
export const withFloatsOf = <A extends object>(original: object, copy: A, ...others: ReadonlyArray<object>): A => {
  if (!any) return copy;
  const floats = [original, ...others].flatMap((one) => kept.get(one) ?? []);
  const [first, ...further] = floats;
  if (first === undefined) return copy;
  kept.set(copy, further.length === 0 ? first : new Set(floats.flatMap((keys) => [...keys])));
  return copy;
};

const note = (container: object, key: string, isFloat: boolean): void => {
  const floats = kept.get(container);
  if (!isFloat) {
    // Of a key that is there twice the last value counts.
    floats?.delete(key);
    return;
  }
  any = true;
  if (floats === undefined) kept.set(container, new Set([key]));
  else floats.add(key);
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
const noteFloats = (text: string, value: unknown): void => {
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
        } else if (here?.container !== undefined) note(here.container, here.key, false);
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
          const token = text.slice(at, end);
          note(here.container, here.key, token.includes('.0') && Number.isInteger(Number(token)));
        }
        at = end - 1;
      }
    }
  }
};

/** No text that people write begins so. */
const mark = '\u0000float ';
const marked = /"\\u0000float (-?\d+)"/g;

/** `JSON.stringify`, whole floats written as such. */
export const stringifyExactly = (value: unknown, indent: number): string => {
  if (!any) return JSON.stringify(value, null, indent);
  const text = JSON.stringify(
    value,
    function replaced(this: object, key, own: unknown) {
      const isFloat = typeof own === 'number' && Number.isSafeInteger(own) && wholeFloatsOf(this)?.has(key) === true;
      return isFloat ? `${mark}${own}` : own;
    },
    indent,
  );
  return text.replace(marked, '$1.0');
};

/** False of text in which no whole float is written. */
export const mayHoldFloats = (text: string): boolean => text.includes('.0');

/** `JSON.parse`, its whole floats remembered. Text without `.0` costs no more than a look for it. */
export const parseJsonExactly = (text: string): unknown => {
  const value: unknown = JSON.parse(text);
  if (mayHoldFloats(text)) noteFloats(text, value);
  return value;
};
