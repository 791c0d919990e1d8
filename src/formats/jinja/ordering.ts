/** How filters order and compare values. */
import { member } from './member.js';
import { isText, plain } from './traced.js';
import { compare, tuple, type Value } from './values.js';

/** Without regard to case. */
export const folded = (value: Value): Value => (isText(value) ? plain(value).toLowerCase() : value);

/** Items in the order of their keys; equal ones as they were. */
export const sorted = (
  items: ReadonlyArray<Value>,
  keyOf: (value: Value) => Value,
  reverse: boolean,
): ReadonlyArray<Value> => {
  const keyed = items.map((value, i) => ({ value, key: keyOf(value), i }));
  keyed.sort((a, b) => {
    const order = compare(a.key, b.key);
    return (reverse ? -order : order) || a.i - b.i;
  });
  return keyed.map(({ value }) => value);
};

/** The key of a value: itself, or what lies at a path or at several, with commas between. */
export const sortKey =
  (path: Value | undefined, caseSensitive: boolean): ((value: Value) => Value) =>
  (value) => {
    const paths = path === undefined || path === null ? [] : isText(path) ? plain(path).split(',') : [path];
    const keys = paths.length === 0 ? [value] : paths.map((one) => member(value, one));
    const kept = caseSensitive ? keys : keys.map(folded);
    return kept.length === 1 ? (kept[0] ?? null) : tuple(kept);
  };
