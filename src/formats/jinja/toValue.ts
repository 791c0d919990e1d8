/** Plain data (messages, tools, arguments) → values of templates, every string traced to where it came from. */
import { fail } from './templateError.js';
import { type Origin, trace } from './traced.js';
import { type Dict, type Key, list, type Value } from './values.js';

const deepest = 100;

/** Data under one origin; without one, its text counts as the template's own. */
export const toValue = (data: unknown, origin?: Origin, depth = 0): Value => {
  if (depth > deepest) return fail(`data nested deeper than ${deepest}, or in a circle`);
  switch (typeof data) {
    case 'string':
      return origin === undefined ? data : trace(data, origin);
    case 'number':
    case 'boolean':
      return data;
    case 'bigint':
      return Number(data);
    case 'object': {
      if (data === null) return null;
      if (Array.isArray(data)) {
        return list(
          data.map((item: unknown) => toValue(item, origin, depth + 1)),
          origin,
        );
      }
      if (ArrayBuffer.isView(data)) return fail('binary data in a conversation');
      const entries = new Map<Key, Value>();
      for (const [key, value] of Object.entries(data)) {
        if (value !== undefined) entries.set(key, toValue(value, origin, depth + 1));
      }
      return { kind: 'dict', entries, ...(origin === undefined ? {} : { origin }) };
    }
    case 'undefined':
      return null;
    default:
      return fail(`a ${typeof data} in a conversation`);
  }
};

/** One message: each field has an origin of its own, and the dict remembers which message it is. */
export const messageValue = (message: Readonly<Record<string, unknown>>, index: number): Dict => {
  const { role } = message;
  const whole: Origin = { message: index, ...(typeof role === 'string' ? { role } : {}) };
  const entries = new Map<Key, Value>();
  for (const [field, value] of Object.entries(message)) {
    if (value !== undefined) entries.set(field, toValue(value, { ...whole, field }));
  }
  return { kind: 'dict', entries, origin: whole, message: whole };
};
