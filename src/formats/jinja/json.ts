/** `tojson` as transformers defines it: Python's `json.dumps`, not escaped for HTML. */
import { floatText } from '../json/floatText.js';
import { mapCharacters } from './print.js';
import { fail } from './templateError.js';
import { concat, isText, makeTextBuilder, type Origin, plain, type Text } from './traced.js';
import {
  compare,
  type Dict,
  isBig,
  isDict,
  isFloat,
  isSequence,
  type Key,
  numberOf,
  typeName,
  type Value,
} from './values.js';

export interface JsonOptions {
  readonly ensureAscii: boolean;
  /** Blanks a level; undefined writes one line. */
  readonly indent: string | undefined;
  readonly itemSeparator: string;
  readonly keySeparator: string;
  readonly sortKeys: boolean;
}

const short: Readonly<Record<string, string>> = {
  '"': '\\"',
  '\\': '\\\\',
  '\n': '\\n',
  '\r': '\\r',
  '\t': '\\t',
  '\b': '\\b',
  '\f': '\\f',
};

const unitEscape = (unit: number): string => `\\u${unit.toString(16).padStart(4, '0')}`;

const string = (text: Text, ensureAscii: boolean): Text =>
  concat(
    '"',
    mapCharacters(text, (character) => {
      const known = short[character];
      if (known !== undefined) return known;
      const code = character.codePointAt(0) ?? 0;
      if (code < 0x20) return unitEscape(code);
      if (!ensureAscii || code < 0x7f) return character;
      return Array.from({ length: character.length }, (_, i) => unitEscape(character.charCodeAt(i))).join('');
    }),
    '"',
  );

const keyText = (key: Key): string =>
  key === null
    ? 'null'
    : typeof key === 'string'
      ? key
      : typeof key === 'number'
        ? scalar(key)
        : key
          ? 'true'
          : 'false';

const scalar = (number: number): string => {
  if (Number.isInteger(number)) return number.toString();
  if (Number.isNaN(number)) return 'NaN';
  return Number.isFinite(number) ? floatText(number) : number > 0 ? 'Infinity' : '-Infinity';
};

const entriesOf = ({ entries }: Dict, sortKeys: boolean): ReadonlyArray<readonly [Key, Value]> =>
  sortKeys ? [...entries].sort(([a], [b]) => compare(a, b)) : [...entries];

/** JSON text; what stands between traced strings is traced to the list or dict that it belongs to. */
export const toJson = (value: Value, options: JsonOptions): Text => {
  const builder = makeTextBuilder();
  const { indent } = options;
  const newline = (level: number): string => (indent === undefined ? '' : `\n${indent.repeat(level)}`);
  const write = (item: Value, level: number, around: Origin | undefined): void => {
    if (isText(item)) {
      builder.add(string(item, options.ensureAscii), around);
    } else if (item === null) {
      builder.add('null', around);
    } else if (typeof item === 'boolean') {
      builder.add(item ? 'true' : 'false', around);
    } else if (isBig(item)) {
      builder.add(item.value.toString(), around);
    } else if (isSequence(item) || isDict(item)) {
      const origin = item.origin ?? around;
      const [open, close] = isDict(item) ? ['{', '}'] : ['[', ']'];
      const parts: ReadonlyArray<readonly [Text, Value]> = isDict(item)
        ? entriesOf(item, options.sortKeys).map(([key, inner]) => [
            concat(string(keyText(key), options.ensureAscii), options.keySeparator),
            inner,
          ])
        : item.items.map((inner) => ['', inner]);
      builder.add(open, origin);
      parts.forEach(([lead, inner], i) => {
        if (i > 0) builder.add(options.itemSeparator, origin);
        builder.add(newline(level + 1), origin);
        builder.add(lead, origin);
        write(inner, level + 1, origin);
      });
      if (parts.length > 0) builder.add(newline(level), origin);
      builder.add(close, origin);
    } else {
      const number = numberOf(item);
      if (number === undefined) fail(`Object of type ${typeName(item)} is not JSON serializable`);
      else builder.add(isFloat(item) && Number.isFinite(number) ? floatText(number) : scalar(number), around);
    }
  };
  write(value, 0, undefined);
  return builder.take();
};

/** The text of a value that must be a string. */
export const plainText = (value: Value, what: string): string =>
  isText(value) ? plain(value) : fail(`${what} must be a string, not ${typeName(value)}`);
