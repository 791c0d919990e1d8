/** Methods of Python's `str`, over traced text. Positions are code points, as in Python. */
import { formatText } from './formatText.js';
import { pythonSpace } from './lexer.js';
import { fail } from './templateError.js';
import {
  characters,
  codePointLength,
  codePointStarts,
  concat,
  cut,
  isText,
  join,
  plain,
  repeat,
  replace,
  respelled,
  type Text,
} from './traced.js';
import { isSequence, list, type Named, numberOf, tuple, typeName, type Value } from './values.js';

export type TextMethod = (self: Text, positional: ReadonlyArray<Value>, named: Named) => Value;

const whitespace = new RegExp(`[${pythonSpace}]`);
const lineEnd = new RegExp(String.raw`\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]`, 'g');

const textArgument = (value: Value | undefined, method: string): Text =>
  value !== undefined && isText(value)
    ? value
    : fail(`${method}() argument must be str, not ${value === undefined ? 'missing' : typeName(value)}`);

const integerArgument = (value: Value | undefined, otherwise: number): number =>
  value === undefined || value === null
    ? otherwise
    : (numberOf(value) ?? fail(`'${typeName(value)}' object cannot be interpreted as an integer`));

/** Strips the given characters (Python's white space without) from the ends. */
export const strip = (text: Text, stripped: Value | undefined, left: boolean, right: boolean): Text => {
  const string = plain(text);
  const set = stripped === undefined || stripped === null ? undefined : new Set(plain(textArgument(stripped, 'strip')));
  const strips = (character: string): boolean => (set === undefined ? whitespace.test(character) : set.has(character));
  let from = 0;
  let to = string.length;
  if (left) {
    while (from < to) {
      const character = String.fromCodePoint(string.codePointAt(from) ?? 0);
      if (!strips(character)) break;
      from += character.length;
    }
  }
  if (right) {
    while (to > from) {
      const low = string.charCodeAt(to - 1);
      const units = low >= 0xdc00 && low <= 0xdfff && to - 2 >= from ? 2 : 1;
      if (!strips(string.slice(to - units, to))) break;
      to -= units;
    }
  }
  return cut(text, from, to);
};

const splitOnBlanks = (text: Text, limit: number): ReadonlyArray<Text> => {
  const string = plain(text);
  const parts: Text[] = [];
  let at = 0;
  for (;;) {
    while (at < string.length && whitespace.test(string[at] ?? '')) at++;
    if (at >= string.length) return parts;
    if (limit >= 0 && parts.length === limit) {
      parts.push(strip(cut(text, at, string.length), undefined, false, true));
      return parts;
    }
    let end = at;
    while (end < string.length && !whitespace.test(string[end] ?? '')) end++;
    parts.push(cut(text, at, end));
    at = end;
  }
};

const splitBackOnBlanks = (text: Text, limit: number): ReadonlyArray<Text> => {
  const string = plain(text);
  const parts: Text[] = [];
  let end = string.length;
  for (;;) {
    while (end > 0 && whitespace.test(string[end - 1] ?? '')) end--;
    if (end === 0) break;
    if (limit >= 0 && parts.length === limit) {
      parts.push(strip(cut(text, 0, end), undefined, true, false));
      break;
    }
    let at = end;
    while (at > 0 && !whitespace.test(string[at - 1] ?? '')) at--;
    parts.push(cut(text, at, end));
    end = at;
  }
  return parts.reverse();
};

const separatorOf = (value: Value | undefined): string | undefined => {
  if (value === undefined || value === null) return undefined;
  const separator = plain(textArgument(value, 'split'));
  return separator === '' ? fail('empty separator') : separator;
};

/** Python's `str.split`; a limit below 0 means none. */
const split = (text: Text, separatorValue: Value | undefined, limit: number): ReadonlyArray<Text> => {
  const separator = separatorOf(separatorValue);
  if (separator === undefined) return splitOnBlanks(text, limit);
  const string = plain(text);
  const parts: Text[] = [];
  let at = 0;
  for (
    let found = string.indexOf(separator);
    found >= 0 && parts.length !== limit;
    found = string.indexOf(separator, at)
  ) {
    parts.push(cut(text, at, found));
    at = found + separator.length;
  }
  parts.push(cut(text, at, string.length));
  return parts;
};

const splitBack = (text: Text, separatorValue: Value | undefined, limit: number): ReadonlyArray<Text> => {
  const separator = separatorOf(separatorValue);
  if (separator === undefined) return splitBackOnBlanks(text, limit);
  const string = plain(text);
  const parts: Text[] = [];
  let end = string.length;
  while (parts.length !== limit && end >= separator.length) {
    const found = string.lastIndexOf(separator, end - separator.length);
    if (found < 0) break;
    parts.push(cut(text, found + separator.length, end));
    end = found;
  }
  parts.push(cut(text, 0, end));
  return parts.reverse();
};

export const splitLines = (text: Text, keepEnds: boolean): ReadonlyArray<Text> => {
  const string = plain(text);
  const lines: Text[] = [];
  let at = 0;
  for (const match of string.matchAll(lineEnd)) {
    const after = match.index + match[0].length;
    lines.push(cut(text, at, keepEnds ? after : match.index));
    at = after;
  }
  if (at < string.length) lines.push(cut(text, at, string.length));
  return lines;
};

/** The part that `start` and `end` arguments (code points, negative from the end) leave of a text. */
const within = (text: Text, start: Value | undefined, end: Value | undefined): { text: Text; offset: number } => {
  if (start === undefined && end === undefined) return { text, offset: 0 };
  const length = codePointLength(text);
  const clamp = (at: number): number => Math.max(0, Math.min(length, at < 0 ? at + length : at));
  const from = clamp(integerArgument(start, 0));
  const to = clamp(integerArgument(end, length));
  const starts = codePointStarts(plain(text));
  return { text: cut(text, starts?.[from] ?? from, starts?.[to] ?? to), offset: from };
};

const affix =
  (method: string, holds: (text: string, affixText: string) => boolean): TextMethod =>
  (self, [wanted, start, end]) => {
    const string = plain(within(self, start, end).text);
    const options = wanted !== undefined && isSequence(wanted) && wanted.kind === 'tuple' ? wanted.items : [wanted];
    return options.some((option) => holds(string, plain(textArgument(option, method))));
  };

/** Position in code points, or -1. */
const position = (self: Text, [wanted, start, end]: ReadonlyArray<Value>, last: boolean, method: string): number => {
  const { text, offset } = within(self, start, end);
  const string = plain(text);
  const needle = plain(textArgument(wanted, method));
  const found = last ? string.lastIndexOf(needle) : string.indexOf(needle);
  return found < 0 ? -1 : offset + codePointLength(string.slice(0, found));
};

const found = (at: number): number => (at < 0 ? fail('substring not found') : at);

const everyCharacter =
  (test: (character: string) => boolean): TextMethod =>
  (self) => {
    const string = plain(self);
    return string !== '' && Array.from(string).every(test);
  };

const cased = /[\p{Lu}\p{Ll}\p{Lt}]/u;

/** Each run of cased letters begins with a capital. */
const titled = (string: string): string =>
  string.replace(/[\p{Lu}\p{Ll}\p{Lt}]+/gu, (word) => {
    const first = String.fromCodePoint(word.codePointAt(0) ?? 0);
    return first.toUpperCase() + word.slice(first.length).toLowerCase();
  });

const padded =
  (method: string, place: (missing: number) => readonly [number, number]): TextMethod =>
  (self, [width, fill]) => {
    const filler = fill === undefined ? ' ' : textArgument(fill, method);
    if (codePointLength(filler) !== 1) return fail('The fill character must be exactly one character long');
    const missingCount = integerArgument(width, 0) - codePointLength(self);
    if (missingCount <= 0) return self;
    const [before, after] = place(missingCount);
    return concat(repeat(filler, before), self, repeat(filler, after));
  };

const partition = (self: Text, separatorValue: Value | undefined, last: boolean): Value => {
  const separator = separatorOf(separatorValue) ?? fail('partition() needs a separator');
  const string = plain(self);
  const at = last ? string.lastIndexOf(separator) : string.indexOf(separator);
  if (at < 0) return tuple(last ? ['', '', self] : [self, '', '']);
  const after = at + separator.length;
  return tuple([cut(self, 0, at), cut(self, at, after), cut(self, after, string.length)]);
};

export const capitalize = (text: Text): Text => {
  const string = plain(text);
  const first = String.fromCodePoint(string.codePointAt(0) ?? 0);
  return string === '' ? text : respelled(text, first.toUpperCase() + string.slice(first.length).toLowerCase());
};

/** `*.join(items)`: every item must be a string. */
const joined: TextMethod = (self, [items]) => {
  const parts =
    items !== undefined && isText(items)
      ? characters(items)
      : items !== undefined && typeof items === 'object' && items !== null && 'items' in items
        ? items.items
        : fail('can only join an iterable');
  return join(
    self,
    parts.map((part, i) =>
      isText(part) ? part : fail(`sequence item ${i}: expected str instance, ${typeName(part)} found`),
    ),
  );
};

const limitOf = (positional: ReadonlyArray<Value>, named: Named): number =>
  integerArgument(positional.length > 1 ? positional[1] : named.get('maxsplit'), -1);

const blank = (character: string): boolean => whitespace.test(character);

export const textMethods: ReadonlyMap<string, TextMethod> = new Map<string, TextMethod>([
  ['strip', (self, [stripped]) => strip(self, stripped, true, true)],
  ['lstrip', (self, [stripped]) => strip(self, stripped, true, false)],
  ['rstrip', (self, [stripped]) => strip(self, stripped, false, true)],
  [
    'split',
    (self, args, named) => list(split(self, args.length > 0 ? args[0] : named.get('sep'), limitOf(args, named))),
  ],
  [
    'rsplit',
    (self, args, named) => list(splitBack(self, args.length > 0 ? args[0] : named.get('sep'), limitOf(args, named))),
  ],
  ['splitlines', (self, [keep], named) => list(splitLines(self, (keep ?? named.get('keepends')) === true))],
  ['join', joined],
  [
    'replace',
    (self, [from, to, count], named) =>
      replace(
        self,
        textArgument(from, 'replace'),
        textArgument(to, 'replace'),
        integerArgument(count ?? named.get('count'), -1),
      ),
  ],
  ['startswith', affix('startswith', (text, prefix) => text.startsWith(prefix))],
  ['endswith', affix('endswith', (text, suffix) => text.endsWith(suffix))],
  ['find', (self, args) => position(self, args, false, 'find')],
  ['rfind', (self, args) => position(self, args, true, 'rfind')],
  ['index', (self, args) => found(position(self, args, false, 'index'))],
  ['rindex', (self, args) => found(position(self, args, true, 'rindex'))],
  [
    'count',
    (self, [wanted, start, end]) => {
      const { text } = within(self, start, end);
      const needle = plain(textArgument(wanted, 'count'));
      return needle === '' ? codePointLength(text) + 1 : plain(text).split(needle).length - 1;
    },
  ],
  ['upper', (self) => respelled(self, plain(self).toUpperCase())],
  ['lower', (self) => respelled(self, plain(self).toLowerCase())],
  ['casefold', (self) => respelled(self, plain(self).toLowerCase().replaceAll('ß', 'ss'))],
  ['capitalize', (self) => capitalize(self)],
  ['title', (self) => respelled(self, titled(plain(self)))],
  [
    'swapcase',
    (self) =>
      respelled(
        self,
        Array.from(plain(self), (c) => (c === c.toUpperCase() ? c.toLowerCase() : c.toUpperCase())).join(''),
      ),
  ],
  ['isspace', everyCharacter(blank)],
  ['isdigit', everyCharacter((c) => /[\p{Nd}\u00b2\u00b3\u00b9\u2070\u2074-\u2079\u2080-\u2089]/u.test(c))],
  ['isdecimal', everyCharacter((c) => /\p{Nd}/u.test(c))],
  ['isnumeric', everyCharacter((c) => /\p{N}/u.test(c))],
  ['isalpha', everyCharacter((c) => /\p{L}/u.test(c))],
  ['isalnum', everyCharacter((c) => /[\p{L}\p{N}]/u.test(c))],
  ['isascii', (self) => /^[\0-\x7f]*$/.test(plain(self))],
  ['isupper', (self) => cased.test(plain(self)) && !/[\p{Ll}\p{Lt}]/u.test(plain(self))],
  ['islower', (self) => cased.test(plain(self)) && !/[\p{Lu}\p{Lt}]/u.test(plain(self))],
  ['istitle', (self) => cased.test(plain(self)) && titled(plain(self)) === plain(self)],
  ['isidentifier', (self) => /^[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}]*$/u.test(plain(self))],
  [
    'removeprefix',
    (self, [prefix]) => {
      const length = plain(textArgument(prefix, 'removeprefix')).length;
      return plain(self).startsWith(plain(prefix as Text)) ? cut(self, length, plain(self).length) : self;
    },
  ],
  [
    'removesuffix',
    (self, [suffix]) => {
      const { length } = plain(textArgument(suffix, 'removesuffix'));
      return length > 0 && plain(self).endsWith(plain(suffix as Text))
        ? cut(self, 0, plain(self).length - length)
        : self;
    },
  ],
  ['partition', (self, [separator]) => partition(self, separator, false)],
  ['rpartition', (self, [separator]) => partition(self, separator, true)],
  ['ljust', padded('ljust', (n) => [0, n])],
  ['rjust', padded('rjust', (n) => [n, 0])],
  // CPython puts the odd blank on the left for odd widths only.
  ['center', (self, args, named) => centered(self, args, named)],
  [
    'zfill',
    (self, [width]) => {
      const missingCount = integerArgument(width, 0) - codePointLength(self);
      if (missingCount <= 0) return self;
      const sign = /^[+-]/.test(plain(self)) ? 1 : 0;
      return concat(cut(self, 0, sign), repeat('0', missingCount), cut(self, sign, plain(self).length));
    },
  ],
  [
    'expandtabs',
    (self, [size]) => {
      const width = integerArgument(size, 8);
      let column = 0;
      return respelled(
        self,
        plain(self).replace(/[\s\S]/gu, (character) => {
          if (character === '\t') {
            const blanks = width > 0 ? width - (column % width) : 0;
            column += blanks;
            return ' '.repeat(blanks);
          }
          column = character === '\n' || character === '\r' ? 0 : column + 1;
          return character;
        }),
      );
    },
  ],
  ['format', (self, args, named) => formatText(self, args, named)],
]);

const centered: TextMethod = (self, args, named) => {
  const width = integerArgument(args[0], 0);
  return padded('center', (missingCount) => {
    const left = Math.floor(missingCount / 2) + (missingCount & width & 1);
    return [left, missingCount - left];
  })(self, args, named);
};
