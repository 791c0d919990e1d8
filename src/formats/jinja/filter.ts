/** What filters are made of: arguments by position or name, and texts. */
import { likewise } from './markup.js';
import { str } from './print.js';
import { fail } from './templateError.js';
import type { Text } from './traced.js';
import { type Named, numberOf, typeName, type Value } from './values.js';

export type Filter = (value: Value, positional: ReadonlyArray<Value>, named: Named) => Value;

/** Filters by name. */
export type FilterTable = ReadonlyArray<readonly [string, Filter]>;

/** Arguments by position or name, in the order of the filter's signature. */
export const bind = (
  names: ReadonlyArray<string>,
  positional: ReadonlyArray<Value>,
  named: Named,
): ReadonlyArray<Value | undefined> => {
  if (positional.length > names.length)
    return fail(`takes at most ${names.length} arguments (${positional.length} given)`);
  for (const name of named.keys())
    if (!names.includes(name)) return fail(`got an unexpected keyword argument '${name}'`);
  return names.map((name, i) => (i < positional.length ? positional[i] : named.get(name)));
};

/** An integer; `otherwise` where none is given. */
export const integerOr = (value: Value | undefined, otherwise: number): number =>
  value === undefined || value === null
    ? otherwise
    : (numberOf(value) ?? fail(`expected an integer, got ${typeName(value)}`));

/** Markup stays markup. */
export const keeping =
  (filter: Filter): Filter =>
  (value, positional, named) =>
    likewise(value, filter(value, positional, named));

/** A filter of the text of any value. */
export const onText =
  (operation: (text: Text) => Value): Filter =>
  (value) =>
    operation(str(value));
