/** `str()` and `repr()` of values, as Python writes them. */
import { floatText } from '../json/floatText.js';
import { concat, isText, makeTextBuilder, mapOrigins, plain, type Text } from './traced.js';
import type { Value } from './values.js';

const unprintable = /[\p{C}\p{Z}]/u;

const escapeCharacter = (character: string, quote: string): string => {
  switch (character) {
    case '\\':
      return '\\\\';
    case '\n':
      return '\\n';
    case '\r':
      return '\\r';
    case '\t':
      return '\\t';
    case quote:
      return `\\${quote}`;
    default: {
      if (character === ' ' || !unprintable.test(character)) return character;
      const code = character.codePointAt(0) ?? 0;
      const hex = code.toString(16);
      return code < 0x100
        ? `\\x${hex.padStart(2, '0')}`
        : code < 0x10000
          ? `\\u${hex.padStart(4, '0')}`
          : `\\U${hex.padStart(8, '0')}`;
    }
  }
};

/** Characters (code points) spelled anew; each keeps its origin. */
export const mapCharacters = (text: Text, spell: (character: string) => string): Text =>
  mapOrigins(text, (piece) => {
    let result = '';
    for (const character of piece) result += spell(character);
    return result;
  });

const textRepr = (text: Text): Text => {
  const string = plain(text);
  const quote = string.includes("'") && !string.includes('"') ? '"' : "'";
  return concat(
    quote,
    mapCharacters(text, (character) => escapeCharacter(character, quote)),
    quote,
  );
};

export const repr = (value: Value): Text => {
  if (isText(value)) return textRepr(value);
  if (value === null || typeof value !== 'object') return str(value);
  switch (value.kind) {
    case 'list':
    case 'tuple': {
      const builder = makeTextBuilder();
      if (value.view !== undefined) builder.add(`${value.view}(`, value.origin);
      builder.add(value.kind === 'list' ? '[' : '(', value.origin);
      value.items.forEach((item, i) => {
        if (i > 0) builder.add(', ', value.origin);
        builder.add(repr(item), value.origin);
      });
      if (value.kind === 'tuple' && value.items.length === 1) builder.add(',');
      builder.add(value.kind === 'list' ? ']' : ')', value.origin);
      if (value.view !== undefined) builder.add(')', value.origin);
      return builder.take();
    }
    case 'dict': {
      const builder = makeTextBuilder();
      builder.add('{', value.origin);
      let first = true;
      for (const [key, item] of value.entries) {
        if (!first) builder.add(', ', value.origin);
        first = false;
        builder.add(repr(key), value.origin);
        builder.add(': ', value.origin);
        builder.add(repr(item), value.origin);
      }
      builder.add('}', value.origin);
      return builder.take();
    }
    case 'undefined':
      return 'Undefined';
    default:
      return str(value);
  }
};

export const str = (value: Value): Text => {
  if (value === null) return 'None';
  switch (typeof value) {
    case 'boolean':
      return value ? 'True' : 'False';
    case 'number':
      return Number.isInteger(value) ? value.toString() : floatText(value);
    case 'string':
      return value;
    default:
      switch (value.kind) {
        case 'traced':
          return value;
        case 'float':
          return floatText(value.value);
        case 'integer':
          return value.value.toString();
        case 'undefined':
          return '';
        case 'list':
        case 'tuple':
        case 'dict':
          return repr(value);
        case 'generator':
          return '<generator object>';
        case 'namespace':
          return '<Namespace>';
        case 'function':
          return `<function ${value.name}>`;
        case 'instance':
          return `<${value.name}>`;
      }
  }
};
