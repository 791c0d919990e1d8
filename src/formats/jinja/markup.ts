/**
 * Text that counts as HTML already (markupsafe's `Markup`): the filters `safe` and `escape` give it, and what is added to it or
 * formatted into it is escaped. Templates that write `'…'|safe + x` get `x` escaped by Jinja2 even where it escapes nothing itself.
 */
import { concat, isText, mapOrigins, type Text, type Traced, unmarked } from './traced.js';
import { isDict, isSequence, list, tuple, type Value } from './values.js';

const entities: Readonly<Record<string, string>> = {
  '&': '&amp;',
  '<': '&lt;',
  '>': '&gt;',
  "'": '&#39;',
  '"': '&#34;',
};

export const isMarkup = (value: Value): value is Traced =>
  isText(value) && typeof value !== 'string' && value.markup === true;

export const markup = (text: Text): Traced =>
  typeof text === 'string'
    ? { kind: 'traced', text, runs: [{ end: text.length, origin: undefined }], markup: true }
    : { ...text, markup: true };

/** Escaped whatever it is. */
export const escapedAnew = (text: Text): Traced =>
  markup(
    mapOrigins(unmarked(text), (piece) => piece.replace(/[&<>'"]/g, (character) => entities[character] ?? character)),
  );

/** Escaped, unless it is markup. */
export const escaped = (text: Text): Traced => (isMarkup(text) ? text : escapedAnew(text));

/** `a + b`. */
export const added = (a: Text, b: Text): Text =>
  isMarkup(a) || isMarkup(b) ? markup(concat(escaped(a), escaped(b))) : concat(a, b);

/** Every text in a value escaped: what is formatted into markup. */
export const escapedWithin = (value: Value): Value => {
  if (isText(value)) return escaped(value);
  if (isSequence(value)) {
    const items = value.items.map(escapedWithin);
    return value.kind === 'tuple' ? tuple(items) : list(items, value.origin);
  }
  return isDict(value)
    ? { ...value, entries: new Map([...value.entries].map(([key, one]) => [key, escapedWithin(one)])) }
    : value;
};

/** A text made of `self`, which is markup where that is. */
export const likewiseText = (self: Value, text: Text): Text => (isMarkup(self) ? markup(text) : text);

/** Results of an operation on `self` that markup keeps for itself. */
export const likewise = (self: Value, result: Value): Value => {
  if (!isMarkup(self)) return result;
  if (isText(result)) return markup(result);
  if (!isSequence(result)) return result;
  const items = result.items.map((one) => (isText(one) ? markup(one) : one));
  return result.kind === 'tuple' ? tuple(items) : list(items);
};

/** Arguments of these methods become part of the result, so markup escapes them. */
const taking = new Set(['replace', 'join', 'format', 'ljust', 'rjust', 'center']);

/** A method's arguments as markup passes them on: of `replace` the first is only looked for. */
export const argumentsFor = (self: Value, method: string, positional: ReadonlyArray<Value>): ReadonlyArray<Value> =>
  isMarkup(self) && taking.has(method)
    ? positional.map((one, i) => (method === 'replace' && i === 0 ? one : escapedWithin(one)))
    : positional;
