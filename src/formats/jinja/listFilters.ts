/** Filters of lists and mappings. */
import { selecting, selectingBy } from './choosing.js';
import { bind, type Filter, type FilterTable, integerOr, keeping } from './filter.js';
import { plainText } from './json.js';
import { member } from './member.js';
import { binary, iterate } from './operations.js';
import { folded, sorted, sortKey } from './ordering.js';
import { str } from './print.js';
import { fail } from './templateError.js';
import { characters, concat, isText, join } from './traced.js';
import {
  compare,
  equal,
  generator,
  isDict,
  isSequence,
  isUndefined,
  lengthOf,
  list,
  missing,
  orElse,
  truthy,
  tuple,
  typeName,
  type Value,
} from './values.js';

const dictsort: Filter = (value, positional, named) => {
  const [caseSensitive = false, by = 'key', reverse = false] = bind(
    ['case_sensitive', 'by', 'reverse'],
    positional,
    named,
  );
  if (!isDict(value)) return fail(`cannot sort ${typeName(value)}`);
  const at = plainText(by, 'by') === 'value' ? 1 : 0;
  const pairs = [...value.entries].map((entry) => tuple(entry));
  const keyOf = (pair: Value): Value => {
    const part = isSequence(pair) ? (pair.items[at] ?? null) : null;
    return truthy(caseSensitive) ? part : folded(part);
  };
  return list(sorted(pairs, keyOf, truthy(reverse)));
};

const groupby: Filter = (value, positional, named) => {
  const [path = null, otherwise, caseSensitive = false] = bind(
    ['attribute', 'default', 'case_sensitive'],
    positional,
    named,
  );
  const keyed = (one: Value): Value => {
    const found = member(one, path);
    const key = isUndefined(found) && otherwise !== undefined ? otherwise : found;
    return truthy(caseSensitive) ? key : folded(key);
  };
  const groups: { key: Value; members: Value[] }[] = [];
  for (const one of sorted(iterate(value), keyed, false)) {
    const key = keyed(one);
    const last = groups.at(-1);
    if (last !== undefined && equal(keyed(last.members[0] ?? null), key)) last.members.push(one);
    else groups.push({ key: member(one, path), members: [one] });
  }
  return list(groups.map(({ key, members }) => tuple([key, list(members)])));
};

const batch: Filter = (value, positional, named) => {
  const [countValue, fill = null] = bind(['linecount', 'fill_with'], positional, named);
  const count = Math.max(1, integerOr(countValue, 1));
  const items = iterate(value);
  const rows: Value[] = [];
  for (let at = 0; at < items.length; at += count) {
    const row = items.slice(at, at + count);
    while (fill !== null && row.length < count) row.push(fill);
    rows.push(list(row));
  }
  return generator(rows);
};

const slices: Filter = (value, positional, named) => {
  const [countValue, fill = null] = bind(['slices', 'fill_with'], positional, named);
  const count = Math.max(1, Math.min(10_000, integerOr(countValue, 1)));
  const items = iterate(value);
  const each = Math.floor(items.length / count);
  const extra = items.length % count;
  let at = 0;
  return generator(
    Array.from({ length: count }, (_, i) => {
      const row = items.slice(at, at + each + (i < extra ? 1 : 0));
      at += row.length;
      if (fill !== null && i >= extra && extra > 0) row.push(fill);
      return list(row);
    }),
  );
};

const unique: Filter = (value, positional, named) => {
  const [caseSensitive = false, path] = bind(['case_sensitive', 'attribute'], positional, named);
  const keyOf = sortKey(path, truthy(caseSensitive));
  const kept: { value: Value; key: Value }[] = [];
  for (const one of iterate(value)) {
    const key = keyOf(one);
    if (!kept.some((other) => equal(other.key, key))) kept.push({ value: one, key });
  }
  return generator(kept.map((one) => one.value));
};

const extreme =
  (sign: 1 | -1, word: string): Filter =>
  (value, positional, named) => {
    const [caseSensitive = false, path] = bind(['case_sensitive', 'attribute'], positional, named);
    const keyOf = sortKey(path, truthy(caseSensitive));
    const items = iterate(value);
    const [first] = items;
    if (first === undefined) return missing(`No aggregated item, sequence was empty (${word}), it`);
    return items.reduce((best, one) => (compare(keyOf(one), keyOf(best)) * sign < 0 ? one : best), first);
  };

const sum: Filter = (value, positional, named) => {
  const [path, start = 0] = bind(['attribute', 'start'], positional, named);
  return iterate(value).reduce<Value>(
    (total, one) => binary('+', total, path === undefined || path === null ? one : member(one, path)),
    start,
  );
};

/** Filters of lists and mappings, but for `map`. */
export const listFilters: FilterTable = [
  ['batch', batch],
  ['count', lengthOf],
  ['dictsort', dictsort],
  ['first', (value) => orElse(iterate(value)[0], () => missing('No first item, sequence was empty, it'))],
  ['groupby', groupby],
  [
    'items',
    (value) => {
      if (isUndefined(value)) return generator([]);
      return isDict(value)
        ? generator([...value.entries].map((entry) => tuple(entry)))
        : fail('Can only get item pairs from a mapping.');
    },
  ],
  [
    'join',
    (value, positional, named) => {
      const [separator = '', path] = bind(['d', 'attribute'], positional, named);
      const items =
        path === undefined || path === null ? iterate(value) : iterate(value).map((one) => member(one, path));
      return join(str(separator), items.map(str));
    },
  ],
  ['last', (value) => orElse(iterate(value).at(-1), () => missing('No last item, sequence was empty, it'))],
  ['length', lengthOf],
  ['list', (value) => list(iterate(value), isSequence(value) ? value.origin : undefined)],
  ['max', extreme(-1, 'max')],
  ['min', extreme(1, 'min')],
  ['reject', selecting(false)],
  ['rejectattr', selectingBy(false)],
  [
    'reverse',
    keeping((value) =>
      isText(value) ? concat(...[...characters(value)].reverse()) : generator([...iterate(value)].reverse()),
    ),
  ],
  ['select', selecting(true)],
  ['selectattr', selectingBy(true)],
  ['slice', slices],
  [
    'sort',
    (value, positional, named) => {
      const [reverse = false, caseSensitive = false, path] = bind(
        ['reverse', 'case_sensitive', 'attribute'],
        positional,
        named,
      );
      return list(sorted(iterate(value), sortKey(path, truthy(caseSensitive)), truthy(reverse)));
    },
  ],
  ['sum', sum],
  ['unique', unique],
];
