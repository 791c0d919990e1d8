/** Jinja2's filters, those without HTML and chance. */
import { type JsonOptions, plainText, toJson } from './json.js';
import { added, escaped, escapedAnew, likewise, likewiseText, markup } from './markup.js';
import { attribute, binary, item, iterate, noSuch, ownAttribute } from './operations.js';
import { repr, str } from './print.js';
import { fail } from './templateError.js';
import { testNamed } from './tests.js';
import { capitalize, splitLines, strip } from './textMethods.js';
import {
  characters,
  codePointLength,
  concat,
  cut,
  isText,
  join,
  plain,
  repeat,
  replace,
  respelled,
  type Text,
  unmarked,
} from './traced.js';
import {
  compare,
  equal,
  float,
  generator,
  isDict,
  integer,
  isBig,
  isFloat,
  isSequence,
  isUndefined,
  lengthOf,
  list,
  missing,
  type Named,
  numberOf,
  orElse,
  truthy,
  tuple,
  typeName,
  type Value,
} from './values.js';

export type Filter = (value: Value, positional: ReadonlyArray<Value>, named: Named) => Value;

/** Arguments by position or name, in the order of the filter's signature. */
const bind = (
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

const integerOr = (value: Value | undefined, otherwise: number): number =>
  value === undefined || value === null
    ? otherwise
    : (numberOf(value) ?? fail(`expected an integer, got ${typeName(value)}`));

/** Dotted path through attributes and items. */
const member = (value: Value, path: Value): Value => {
  if (!isText(path)) return item(value, path);
  return plain(path)
    .split('.')
    .reduce((current, part) => {
      if (/^\d+$/.test(part)) return item(current, Number(part));
      return isDict(current) ? item(current, part) : attribute(current, part);
    }, value);
};

const folded = (value: Value): Value => (isText(value) ? plain(value).toLowerCase() : value);

const sorted = (
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

const sortKey =
  (path: Value | undefined, caseSensitive: boolean): ((value: Value) => Value) =>
  (value) => {
    const paths = path === undefined || path === null ? [] : isText(path) ? plain(path).split(',') : [path];
    const keys = paths.length === 0 ? [value] : paths.map((one) => member(value, one));
    const kept = caseSensitive ? keys : keys.map(folded);
    return kept.length === 1 ? (kept[0] ?? null) : tuple(kept);
  };

/** The test of `select` and its kin: by name with arguments, or the value's truth. */
const tester = (args: ReadonlyArray<Value>): ((value: Value) => boolean) => {
  const [name, ...rest] = args;
  if (name === undefined) return truthy;
  const test = testNamed(plainText(name, 'the name of a test'));
  return (value) => test(value, rest);
};

const selecting =
  (wanted: boolean): Filter =>
  (value, args) => {
    if (!truthy(value)) return generator([]);
    const test = tester(args);
    return generator(iterate(value).filter((one) => test(one) === wanted));
  };

const selectingBy =
  (wanted: boolean): Filter =>
  (value, [path, ...args]) => {
    if (!truthy(value)) return generator([]);
    if (path === undefined) return fail('Missing parameter for attribute name');
    const test = tester(args);
    return generator(iterate(value).filter((one) => test(member(one, path)) === wanted));
  };

/** `map`, `select` and their kin take any false value for an empty list. */
const map: Filter = (value, positional, named) => {
  if (!truthy(value)) return generator([]);
  const path = named.get('attribute');
  const items = iterate(value);
  if (positional.length === 0 && path !== undefined) {
    const otherwise = named.get('default');
    return generator(
      items.map((one) => {
        const found = member(one, path);
        return isUndefined(found) && otherwise !== undefined ? otherwise : found;
      }),
    );
  }
  const [name, ...rest] = positional;
  if (name === undefined) return fail('map requires a filter argument');
  const filter = filterNamed(plainText(name, 'the name of a filter'));
  return generator(items.map((one) => filter(one, rest, named)));
};

/** Half to even, as Python rounds. */
const roundHalfEven = (value: number, precision: number): number => {
  const scale = 10 ** Math.abs(precision);
  const scaled = precision >= 0 ? value * scale : value / scale;
  // The decimal expansion decides, as in Python: 2.675 is below the half.
  if (precision > 0 && precision <= 20) {
    const text = Math.abs(value).toFixed(Math.min(100, precision + 25));
    const cutAt = text.indexOf('.') + 1 + precision;
    const rest = text.slice(cutAt);
    if (!/^50*$/.test(rest)) return Number(value.toFixed(precision));
  }
  const floor = Math.floor(scaled);
  const diff = scaled - floor;
  const rounded = diff < 0.5 ? floor : diff > 0.5 ? floor + 1 : floor % 2 === 0 ? floor : floor + 1;
  return precision >= 0 ? rounded / scale : rounded * scale;
};

const round: Filter = (value, positional, named) => {
  const [precisionValue, method] = bind(['precision', 'method'], positional, named);
  const number = numberOf(value) ?? fail(`cannot round ${typeName(value)}`);
  const precision = integerOr(precisionValue, 0);
  const how = method === undefined ? 'common' : plainText(method, 'the method');
  if (isBig(value) && how === 'common' && precision >= 0) return value;
  if (how === 'common')
    return isFloat(value) ? float(roundHalfEven(number, precision)) : roundHalfEven(number, precision);
  if (how !== 'ceil' && how !== 'floor') return fail('method must be common, ceil or floor');
  const scale = 10 ** precision;
  return float((how === 'ceil' ? Math.ceil(number * scale) : Math.floor(number * scale)) / scale);
};

/** Python refuses to read more digits than these. */
const mostDigits = 4300;

const parseInteger = (text: string, base: number): Value | undefined => {
  if (text.length > mostDigits) return undefined;
  const trimmed = text.trim().replace(/(?<=\d)_(?=\d)/g, '');
  const match = /^([+-]?)(0[xX]|0[oO]|0[bB])?([0-9a-zA-Z]+)$/.exec(trimmed);
  if (match === null) return undefined;
  const [, sign, prefix, digits = ''] = match;
  const prefixBase = prefix === undefined ? undefined : { x: 16, o: 8, b: 2 }[prefix.slice(1).toLowerCase()];
  if (prefixBase !== undefined && prefixBase !== base) return undefined;
  const number = Number.parseInt(digits, base);
  const valid = Array.from(digits.toLowerCase()).every((digit) => Number.parseInt(digit, 36) < base);
  if (!valid) return undefined;
  if (Number.isSafeInteger(number)) return sign === '-' ? -number : number;
  const whole = Array.from(digits.toLowerCase()).reduce(
    (sum, digit) => sum * BigInt(base) + BigInt(Number.parseInt(digit, 36)),
    0n,
  );
  return integer(sign === '-' ? -whole : whole);
};

const floatPattern = /^\s*[+-]?(?:\d[\d_]*\.?\d*(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|inf(?:inity)?|nan)\s*$/i;

const parseFloatText = (text: string): number | undefined => {
  if (!floatPattern.test(text)) return undefined;
  const lower = text.trim().toLowerCase().replaceAll('_', '');
  if (lower.includes('inf')) return lower.startsWith('-') ? -Infinity : Infinity;
  return lower.includes('nan') ? Number.NaN : Number(lower);
};

/** The whole part, as an integer. */
const truncated = (number: number | undefined, otherwise: Value): Value =>
  number === undefined || !Number.isFinite(number) ? otherwise : integer(BigInt(Math.trunc(number)));

const toInteger: Filter = (value, positional, named) => {
  const [otherwise = 0, baseValue] = bind(['default', 'base'], positional, named);
  if (isText(value)) {
    const whole = parseInteger(plain(value), integerOr(baseValue, 10));
    return whole === undefined ? truncated(parseFloatText(plain(value)), otherwise) : whole;
  }
  return isBig(value) ? value : truncated(numberOf(value), otherwise);
};

const toFloat: Filter = (value, positional, named) => {
  const [otherwise = float(0)] = bind(['default'], positional, named);
  const number = isText(value) ? parseFloatText(plain(value)) : numberOf(value);
  return number === undefined ? otherwise : float(number);
};

const indent: Filter = (value, positional, named) => {
  const [width = 4, first = false, blank = false] = bind(['width', 'first', 'blank'], positional, named);
  const indention = isText(width) ? width : repeat(' ', integerOr(width, 4));
  const lines = splitLines(concat(str(value), '\n'), false);
  const rest = lines.map((line, i) =>
    i === 0 || (plain(line) === '' && !truthy(blank)) ? line : concat(indention, line),
  );
  const body = join('\n', rest);
  return truthy(first) ? concat(indention, body) : body;
};

const truncate: Filter = (value, positional, named) => {
  const [lengthValue, killWords = false, end = '...', leewayValue] = bind(
    ['length', 'killwords', 'end', 'leeway'],
    positional,
    named,
  );
  const text = str(value);
  const length = integerOr(lengthValue, 255);
  const ending = str(end);
  if (codePointLength(text) <= length + integerOr(leewayValue, 5)) return text;
  const wanted = Math.max(0, length - codePointLength(ending));
  // A character is two UTF-16 units at most.
  const kept = characters(cut(text, 0, 2 * wanted)).slice(0, wanted);
  const head = concat(...kept);
  if (truthy(killWords)) return added(likewiseText(value, head), ending);
  const at = plain(head).lastIndexOf(' ');
  return added(likewiseText(value, at < 0 ? head : cut(head, 0, at)), ending);
};

/** Without `<…>` and `<!--…-->`, in one pass whatever the text: what a regular expression does in one pass for each "<". */
const withoutTags = (text: string): string => {
  const kept: Array<string> = [];
  let at = 0;
  let from = 0;
  let comments = true;
  for (;;) {
    const open = text.indexOf('<', from);
    if (open === -1) break;
    const comment = comments && text.startsWith('<!--', open) ? text.indexOf('-->', open + 4) : -1;
    if (comment === -1 && text.startsWith('<!--', open)) comments = false;
    const end = comment === -1 ? text.indexOf('>', open + 1) + 1 : comment + 3;
    if (end === 0) break;
    kept.push(text.slice(at, open));
    at = end;
    from = end;
  }
  kept.push(text.slice(at));
  return kept.join('');
};

const title: Filter = (value) => {
  const text = str(value);
  const parts = plain(text).split(/([-\s({[<]+)/);
  return respelled(text, parts.map((part) => part.slice(0, 1).toUpperCase() + part.slice(1).toLowerCase()).join(''));
};

const json: Filter = (value, positional, named) => {
  const [ensureAscii = false, indentValue = null, separators = null, sortKeys = false] = bind(
    ['ensure_ascii', 'indent', 'separators', 'sort_keys'],
    positional,
    named,
  );
  const indentText =
    indentValue === null
      ? undefined
      : isText(indentValue)
        ? plain(indentValue)
        : plain(repeat(' ', integerOr(indentValue, 0)));
  const given = separators !== null && isSequence(separators) ? separators.items.map((one) => plain(str(one))) : [];
  const options: JsonOptions = {
    ensureAscii: truthy(ensureAscii),
    indent: indentText,
    itemSeparator: given[0] ?? (indentText === undefined ? ', ' : ','),
    keySeparator: given[1] ?? ': ',
    sortKeys: truthy(sortKeys),
  };
  return toJson(value, options);
};

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

/** Markup stays markup. */
const keeping =
  (filter: Filter): Filter =>
  (value, positional, named) =>
    likewise(value, filter(value, positional, named));

const onText =
  (operation: (text: Text) => Value): Filter =>
  (value) =>
    operation(str(value));

const unreserved = /[\w.~/-]/;

const urlencode: Filter = (value) => {
  const quote = (text: string, slash: boolean): string =>
    Array.from(text)
      .map((c) =>
        unreserved.test(c) && c.charCodeAt(0) < 0x80 && (slash || c !== '/')
          ? c
          : [...new TextEncoder().encode(c)].map((b) => `%${b.toString(16).toUpperCase().padStart(2, '0')}`).join(''),
      )
      .join('');
  if (isDict(value)) {
    return [...value.entries]
      .map((pair) => pair.map((part) => quote(plain(str(part)), false).replaceAll('%20', '+')).join('='))
      .join('&');
  }
  return quote(plain(str(value)), true);
};

const table: ReadonlyArray<readonly [string, Filter]> = [
  [
    'abs',
    (value) =>
      isFloat(value)
        ? float(Math.abs(numberOf(value) ?? 0))
        : isBig(value)
          ? integer(value.value < 0n ? -value.value : value.value)
          : Math.abs(numberOf(value) ?? fail('bad operand type for abs()')),
  ],
  [
    'attr',
    (value, [name = null]) => {
      const wanted = plainText(name, 'the name of an attribute');
      return orElse(ownAttribute(value, wanted), () => noSuch(value, wanted));
    },
  ],
  ['batch', batch],
  ['capitalize', keeping(onText(capitalize))],
  [
    'center',
    keeping((value, [width]) => {
      const text = str(value);
      const blanks = integerOr(width, 80) - codePointLength(text);
      if (blanks <= 0) return text;
      const left = Math.floor(blanks / 2) + (blanks & integerOr(width, 80) & 1);
      return concat(repeat(' ', left), text, repeat(' ', blanks - left));
    }),
  ],
  ['count', lengthOf],
  [
    'default',
    (value, positional, named) => {
      const [otherwise = '', boolean = false] = bind(['default_value', 'boolean'], positional, named);
      return isUndefined(value) || (truthy(boolean) && !truthy(value)) ? otherwise : value;
    },
  ],
  ['dictsort', dictsort],
  ['escape', onText(escaped)],
  ['first', (value) => orElse(iterate(value)[0], () => missing('No first item, sequence was empty, it'))],
  ['float', toFloat],
  ['forceescape', onText(escapedAnew)],
  [
    'format',
    (value, positional, named) => {
      const mapping: Value = { kind: 'dict', entries: new Map(named) };
      return binary('%', str(value), named.size > 0 ? mapping : tuple(positional));
    },
  ],
  ['groupby', groupby],
  ['indent', keeping(indent)],
  ['int', toInteger],
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
  ['lower', keeping(onText((text) => respelled(text, plain(text).toLowerCase())))],
  ['map', map],
  ['max', extreme(-1, 'max')],
  ['min', extreme(1, 'min')],
  ['pprint', (value) => repr(value)],
  ['reject', selecting(false)],
  ['rejectattr', selectingBy(false)],
  [
    'replace',
    (value, positional, named) => {
      const [from = null, to = null, count] = bind(['old', 'new', 'count'], positional, named);
      return replace(unmarked(str(value)), unmarked(str(from)), unmarked(str(to)), integerOr(count, -1));
    },
  ],
  [
    'reverse',
    keeping((value) =>
      isText(value) ? concat(...[...characters(value)].reverse()) : generator([...iterate(value)].reverse()),
    ),
  ],
  ['round', round],
  ['safe', onText(markup)],
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
  ['string', onText((text) => text)],
  ['striptags', onText((text) => respelled(text, withoutTags(plain(text)).trim().replace(/\s+/g, ' ')))],
  ['sum', sum],
  ['title', title],
  ['tojson', json],
  ['trim', keeping((value, [chars]) => strip(str(value), chars, true, true))],
  ['truncate', truncate],
  ['unique', unique],
  ['upper', keeping(onText((text) => respelled(text, plain(text).toUpperCase())))],
  ['urlencode', urlencode],
  ['wordcount', onText((text) => plain(text).match(/[\p{L}\p{N}_]+/gu)?.length ?? 0)],
];

const filters: ReadonlyMap<string, Filter> = new Map([
  ...table,
  ...table.flatMap(
    ([name, filter]): ReadonlyArray<readonly [string, Filter]> =>
      name === 'default' ? [['d', filter]] : name === 'escape' ? [['e', filter]] : [],
  ),
]);

export const filterNamed = (name: string): Filter => filters.get(name) ?? fail(`No filter named '${name}'.`);
