/** Functions that every template can call. */
import { iterate } from './operations.js';
import { strftime } from './strftime.js';
import { fail, TemplateError } from './templateError.js';
import { isText, plain } from './traced.js';
import {
  callable,
  isDict,
  isFloat,
  type Key,
  keyOf,
  list,
  type Named,
  numberOf,
  typeName,
  type Value,
} from './values.js';

/** Jinja2's sandbox refuses longer ranges. */
const longestRange = 100_000;

const range = (args: ReadonlyArray<Value>): Value => {
  const numbers = args.map((arg) => {
    const number = numberOf(arg);
    return number === undefined || isFloat(arg)
      ? fail(`'${typeName(arg)}' object cannot be interpreted as an integer`)
      : number;
  });
  const [first = 0, second, by = 1] = numbers;
  if (numbers.length === 0 || numbers.length > 3) return fail('range expects 1 to 3 arguments');
  if (by === 0) return fail('range() arg 3 must not be zero');
  const [from, to] = second === undefined ? [0, first] : [first, second];
  const count = Math.max(0, Math.ceil((to - from) / by));
  if (count > longestRange) {
    throw new TemplateError(
      'E_TEMPLATE_LIMIT',
      `Range too big. The sandbox blocks ranges larger than ${longestRange}.`,
    );
  }
  return list(Array.from({ length: count }, (_, i) => from + i * by));
};

const entriesOf = (positional: ReadonlyArray<Value>, named: Named): Map<Key, Value> => {
  const entries = new Map<Key, Value>();
  for (const source of positional) {
    if (isDict(source)) for (const [key, value] of source.entries) entries.set(key, value);
    else {
      for (const pair of iterate(source)) {
        const [key = null, value = null] = iterate(pair);
        entries.set(keyOf(key), value);
      }
    }
  }
  for (const [key, value] of named) entries.set(key, value);
  return entries;
};

const namespace = (positional: ReadonlyArray<Value>, named: Named): Value => ({
  kind: 'namespace',
  attributes: new Map([...entriesOf(positional, named)].map(([key, value]) => [String(key), value])),
});

const cycler = (items: ReadonlyArray<Value>): Value => {
  if (items.length === 0) return fail('at least one item has to be provided');
  let at = 0;
  const current = (): Value => items[at] ?? null;
  const next = callable('next', () => {
    const value = current();
    at = (at + 1) % items.length;
    return value;
  });
  const reset = callable('reset', () => {
    at = 0;
    return null;
  });
  return {
    kind: 'instance',
    name: 'Cycler',
    attribute: (name) =>
      name === 'current' ? current() : name === 'next' ? next : name === 'reset' ? reset : undefined,
  };
};

const joiner = ([separator = ', ']: ReadonlyArray<Value>): Value => {
  let used = false;
  return {
    kind: 'instance',
    name: 'Joiner',
    attribute: () => undefined,
    call: () => {
      if (used) return separator;
      used = true;
      return '';
    },
  };
};

const raise = ([message = '']: ReadonlyArray<Value>): never => {
  throw new TemplateError(
    'E_TEMPLATE_RAISED',
    isText(message) ? plain(message) : 'the template refused the conversation',
  );
};

/** Jinja2's globals and transformers' `raise_exception` and `strftime_now`. */
export const makeGlobals = (clock: () => Date): ReadonlyMap<string, Value> =>
  new Map<string, Value>([
    ['range', callable('range', range)],
    ['dict', callable('dict', (positional, named) => ({ kind: 'dict', entries: entriesOf(positional, named) }))],
    ['namespace', callable('namespace', namespace)],
    ['cycler', callable('cycler', cycler)],
    ['joiner', callable('joiner', joiner)],
    ['raise_exception', callable('raise_exception', raise)],
    [
      'strftime_now',
      callable('strftime_now', ([format = '']) =>
        strftime(clock(), isText(format) ? plain(format) : fail('strftime() argument 1 must be str')),
      ),
    ],
  ]);
