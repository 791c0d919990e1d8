/** Plain data (messages, tools, arguments) → values of templates, every string traced to where it came from. */
import type { Message } from '../../records.js';
import { writtenNumbersOf } from '../json/writtenNumbers.js';
import { fail } from './templateError.js';
import { concat, type Origin, type Text, trace } from './traced.js';
import { type Dict, float, integer, type Key, list, type Value } from './values.js';

const deepest = 100;

/** A field or item as it was written. */
export const memberValue = (
  [key, value]: readonly [key: string, value: unknown],
  written: ReturnType<typeof writtenNumbersOf>,
  origin?: Origin,
  depth = 0,
): Value => {
  const number = typeof value === 'number' ? written?.get(key) : undefined;
  if (number === 'float') return float(Number(value));
  return number !== undefined && Number(number) === value ? integer(number) : toValue(value, origin, depth);
};

/** Data under one origin; without one, its text counts as the template's own. */
export const toValue = (data: unknown, origin?: Origin, depth = 0): Value => {
  if (depth > deepest) return fail(`data nested deeper than ${deepest}, or in a circle`);
  switch (typeof data) {
    case 'string':
      return origin === undefined ? data : trace(data, origin);
    case 'number':
      // Of a number beyond 2^53 that no JSON wrote, a float is all that is known: 1e20 prints as Python prints it.
      return Number.isInteger(data) && !Number.isSafeInteger(data) ? float(data) : data;
    case 'boolean':
      return data;
    case 'bigint':
      return integer(data);
    case 'object': {
      if (data === null) return null;
      const written = writtenNumbersOf(data);
      if (Array.isArray(data)) {
        return list(
          data.map((item: unknown, i) => memberValue([String(i), item], written, origin, depth + 1)),
          origin,
        );
      }
      if (ArrayBuffer.isView(data)) return fail('binary data in a conversation');
      const entries = new Map<Key, Value>();
      for (const [key, value] of Object.entries(data)) {
        if (value !== undefined) entries.set(key, memberValue([key, value], written, origin, depth + 1));
      }
      return { kind: 'dict', entries, ...(origin === undefined ? {} : { origin }) };
    }
    case 'undefined':
      return null;
    default:
      return fail(`a ${typeof data} in a conversation`);
  }
};

/** The content, each weighted stretch under an origin of its own. */
const contentValue = ({ content, contentWeights = [] }: Message, origin: Origin): Text => {
  let at = 0;
  const pieces = contentWeights.flatMap(({ start, end }, part) => {
    const before = trace(content.slice(at, start), origin);
    at = end;
    return [before, trace(content.slice(start, end), { ...origin, part })];
  });
  return concat(...pieces, trace(content.slice(at), origin));
};

/** A text as the list of one part: `[{"type": "text", "text": …}]`. */
const inParts = (text: Value, origin: Origin): Value => {
  const part = new Map<Key, Value>([
    ['type', 'text'],
    ['text', text],
  ]);
  return list([{ kind: 'dict', entries: part, origin }], origin);
};

/** How a template reads contents: as strings, or as lists of parts. */
export type ContentForm = 'string' | 'parts';

/**
 * One message: each field has an origin of its own, and the dict remembers which message it is. Its loss weights are ours, not
 * the template's.
 */
export const messageValue = (message: Message, index: number, form: ContentForm = 'string'): Dict => {
  const { weight: _weight, contentWeights, ...fields } = message;
  const { role } = fields;
  const whole: Origin = { message: index, ...(typeof role === 'string' ? { role } : {}) };
  const written = writtenNumbersOf(message);
  const entries = new Map<Key, Value>();
  for (const [field, value] of Object.entries(fields)) {
    if (value !== undefined) entries.set(field, memberValue([field, value], written, { ...whole, field }));
  }
  const origin = { ...whole, field: 'content' };
  if (contentWeights !== undefined) entries.set('content', contentValue(message, origin));
  const content = entries.get('content');
  if (form === 'parts' && content !== undefined) entries.set('content', inParts(content, origin));
  return { kind: 'dict', entries, origin: whole, message: whole };
};
