/** What operators, item and attribute access and iteration do with values. */
import type { BinaryOperator, CompareOperator } from './ast.js';
import { percentFormat } from './formatText.js';
import { added, argumentsFor, escapedWithin, isMarkup, likewise } from './markup.js';
import { str } from './print.js';
import { fail, TemplateError } from './templateError.js';
import { textMethods } from './textMethods.js';
import {
  characters,
  codePointLength,
  codePointStarts,
  concat,
  cut,
  isText,
  plain,
  repeat,
  type Text,
} from './traced.js';
import {
  callable,
  compare,
  type Dict,
  equal,
  float,
  getKey,
  integer,
  isBig,
  isDict,
  isFloat,
  isSequence,
  isUndefined,
  keyOf,
  kindOf,
  list,
  missing,
  type Named,
  numberOf,
  orElse,
  tuple,
  typeName,
  undefinedError,
  type Value,
  view,
} from './values.js';

/** Items of a list that grew by operators; Python would run out of memory much later. */
const longestList = 1_000_000;

const checkedList = (items: ReadonlyArray<Value>): ReadonlyArray<Value> => {
  if (items.length > longestList) {
    throw new TemplateError('E_TEMPLATE_LIMIT', `a list of the template grew beyond ${longestList} items`);
  }
  return items;
};

/** What a `for` loop runs over. */
export const iterate = (value: Value): ReadonlyArray<Value> => {
  if (isText(value)) return characters(value);
  if (value !== null && typeof value === 'object') {
    if ('items' in value) return value.items;
    if (value.kind === 'dict') return [...value.entries.keys()];
    if (value.kind === 'undefined') return [];
  }
  return fail(`'${typeName(value)}' object is not iterable`);
};

const unsupported = (operator: string, a: Value, b: Value): never => {
  if (isUndefined(a)) return undefinedError(a);
  if (isUndefined(b)) return undefinedError(b);
  return fail(`unsupported operand type(s) for ${operator}: '${typeName(a)}' and '${typeName(b)}'`);
};

const tooBig = (): never => fail('arithmetic of integers beyond 2^53 is not supported');

const wholeOf = (value: number): number => (Number.isSafeInteger(value) ? value : tooBig());

const arithmetic = (operator: BinaryOperator, a: number, b: number, floats: boolean): Value => {
  const exact = (value: number): Value => (floats ? float(value) : wholeOf(value));
  switch (operator) {
    case '+':
      return exact(a + b);
    case '-':
      return exact(a - b);
    case '*':
      return exact(a * b);
    case '/':
      return b === 0 ? fail('division by zero') : float(a / b);
    case '//':
      return b === 0 ? fail('integer division or modulo by zero') : exact(Math.floor(a / b));
    case '%':
      return b === 0 ? fail('integer modulo by zero') : exact(a - b * Math.floor(a / b));
    case '**':
      return b < 0 && a === 0
        ? fail('0.0 cannot be raised to a negative power')
        : b < 0
          ? float(a ** b)
          : exact(a ** b);
  }
};

const times = (value: Value, count: number): Value | undefined => {
  if (isText(value)) return likewise(value, repeat(value, count));
  if (!isSequence(value)) return undefined;
  if (value.items.length * count > longestList) checkedList({ length: Infinity } as ReadonlyArray<Value>);
  const items = Array.from({ length: Math.max(0, count) }, () => value.items).flat();
  return value.kind === 'tuple' ? tuple(items) : list(items);
};

export const binary = (operator: BinaryOperator, a: Value, b: Value): Value => {
  if (operator === '+' && isText(a) && isText(b)) return added(a, b);
  if (operator === '%' && isText(a)) return likewise(a, percentFormat(a, isMarkup(a) ? escapedWithin(b) : b));
  const left = numberOf(a);
  const right = numberOf(b);
  if (left !== undefined && right !== undefined) {
    const floats = isFloat(a) || isFloat(b);
    if (!floats && operator !== '/' && (isBig(a) || isBig(b))) return tooBig();
    return arithmetic(operator, left, right, floats);
  }
  if (operator === '+') {
    if (isSequence(a) && isSequence(b) && a.kind === b.kind) {
      const items = checkedList([...a.items, ...b.items]);
      return a.kind === 'tuple' ? tuple(items) : list(items);
    }
    if (isText(a) && !isUndefined(b)) return fail(`can only concatenate str (not "${typeName(b)}") to str`);
  }
  if (operator === '*') {
    const repeated =
      right !== undefined && !isFloat(b)
        ? times(a, right)
        : left !== undefined && !isFloat(a)
          ? times(b, left)
          : undefined;
    if (repeated !== undefined) return repeated;
  }
  return unsupported(operator, a, b);
};

export const negative = (value: Value): Value => {
  const number = numberOf(value);
  if (number === undefined) return unsupported('unary -', value, null);
  if (isBig(value)) return integer(-value.value);
  return isFloat(value) ? float(-number) : number === 0 ? 0 : -number;
};

export const positive = (value: Value): Value => {
  const number = numberOf(value);
  return number === undefined ? unsupported('unary +', value, null) : isFloat(value) || isBig(value) ? value : number;
};

export const contains = (container: Value, item: Value): boolean => {
  if (isText(container)) {
    return isText(item)
      ? plain(container).includes(plain(item))
      : fail(`'in <string>' requires string as left operand, not ${typeName(item)}`);
  }
  if (isDict(container)) return getKey(container, keyOf(item)) !== undefined;
  if (
    kindOf(container) !== 'undefined' &&
    !(container !== null && typeof container === 'object' && 'items' in container)
  ) {
    return fail(`argument of type '${typeName(container)}' is not iterable`);
  }
  return iterate(container).some((other) => equal(item, other));
};

export const comparison = (operator: CompareOperator, a: Value, b: Value): boolean => {
  switch (operator) {
    case '==':
      return equal(a, b);
    case '!=':
      return !equal(a, b);
    case '<':
      return compare(a, b) < 0;
    case '<=':
      return compare(a, b) <= 0;
    case '>':
      return compare(a, b) > 0;
    case '>=':
      return compare(a, b) >= 0;
    case 'in':
      return contains(b, a);
    case 'not in':
      return !contains(b, a);
  }
};

/** `~`: everything as text. */
export const concatenated = (values: ReadonlyArray<Value>): Text => concat(...values.map(str));

const sliceBounds = (
  length: number,
  start: Value,
  stop: Value,
  step: Value,
): { readonly from: number; readonly to: number; readonly by: number } => {
  const bound = (value: Value): number | undefined => {
    if (value === null || isUndefined(value)) return undefined;
    const number = numberOf(value);
    return number === undefined || isFloat(value)
      ? fail('slice indices must be integers or None or have an __index__ method')
      : number;
  };
  const by = bound(step) ?? 1;
  if (by === 0) return fail('slice step cannot be zero');
  const lowest = by > 0 ? 0 : -1;
  const highest = by > 0 ? length : length - 1;
  const clamp = (at: number | undefined, otherwise: number): number =>
    at === undefined ? otherwise : Math.max(lowest, Math.min(highest, at < 0 ? at + length : at));
  return { from: clamp(bound(start), by > 0 ? 0 : length - 1), to: clamp(bound(stop), by > 0 ? length : -1), by };
};

export const slice = (object: Value, start: Value, stop: Value, step: Value): Value => {
  if (isText(object)) {
    const { from, to, by } = sliceBounds(codePointLength(object), start, stop, step);
    const starts = codePointStarts(plain(object));
    const unit = (at: number): number => (starts === undefined ? at : (starts[at] ?? 0));
    if (by === 1) return likewise(object, cut(object, unit(from), Math.max(unit(from), unit(Math.max(from, to)))));
    const parts: Text[] = [];
    for (let i = from; by > 0 ? i < to : i > to; i += by) parts.push(cut(object, unit(i), unit(i + 1)));
    return likewise(object, concat(...parts));
  }
  if (isSequence(object)) {
    const { from, to, by } = sliceBounds(object.items.length, start, stop, step);
    const items: Value[] = [];
    for (let i = from; by > 0 ? i < to : i > to; i += by) items.push(object.items[i] ?? null);
    return object.kind === 'tuple' ? tuple(items) : list(items, object.origin);
  }
  if (isUndefined(object)) return undefinedError(object);
  return fail(`'${typeName(object)}' object is not subscriptable`);
};

const denied = new Set([
  'append',
  'clear',
  'extend',
  'insert',
  'pop',
  'remove',
  'reverse',
  'sort',
  'popitem',
  'setdefault',
  'update',
]);

const refuses = (method: string) => (): Value => fail(`the sandbox does not let a template call ${method}()`);

const dictMethod = (dict: Dict, name: string): Value | undefined => {
  switch (name) {
    case 'get':
      return callable('get', ([key = null, otherwise = null]) => orElse(getKey(dict, keyOf(key)), () => otherwise));
    case 'items':
      return callable('items', () =>
        view(
          'dict_items',
          [...dict.entries].map((entry) => tuple(entry)),
          dict.origin,
        ),
      );
    case 'keys':
      return callable('keys', () => view('dict_keys', [...dict.entries.keys()]));
    case 'values':
      return callable('values', () => view('dict_values', [...dict.entries.values()], dict.origin));
    case 'copy':
      return callable('copy', () => dict);
    default:
      return denied.has(name) && !['append', 'extend', 'insert', 'remove', 'reverse', 'sort'].includes(name)
        ? callable(name, refuses(name))
        : undefined;
  }
};

const sequenceMethod = (items: ReadonlyArray<Value>, name: string): Value | undefined => {
  switch (name) {
    case 'index':
      return callable('index', ([wanted = null]) => {
        const at = items.findIndex((item) => equal(item, wanted));
        return at < 0 ? fail('value is not in list') : at;
      });
    case 'count':
      return callable('count', ([wanted = null]) => items.filter((item) => equal(item, wanted)).length);
    case 'copy':
      return callable('copy', () => list(items));
    default:
      return denied.has(name) && name !== 'popitem' && name !== 'setdefault' && name !== 'update'
        ? callable(name, refuses(name))
        : undefined;
  }
};

/** Attributes in Python's sense, without items. */
export const ownAttribute = (object: Value, name: string): Value | undefined => {
  if (isText(object)) {
    const method = textMethods.get(name);
    return method === undefined
      ? undefined
      : callable(name, (positional, named) =>
          likewise(object, method(object, argumentsFor(object, name, positional), named)),
        );
  }
  if (object === null || typeof object !== 'object') return undefined;
  switch (object.kind) {
    case 'dict':
      return dictMethod(object, name);
    case 'list':
    case 'tuple':
      return sequenceMethod(object.items, name);
    case 'namespace':
      return object.attributes.get(name);
    case 'instance':
      return object.attribute(name);
    case 'function':
      return object.attributes?.get(name);
    default:
      return undefined;
  }
};

const itemOf = (object: Value, key: Value): Value | undefined => {
  if (isDict(object)) {
    return isText(key) || key === null || typeof key !== 'object' || key.kind === 'float'
      ? getKey(object, keyOf(key))
      : undefined;
  }
  const index = typeof key === 'boolean' ? Number(key) : key;
  if (typeof index !== 'number' || !Number.isInteger(index)) return undefined;
  if (isText(object)) {
    const length = codePointLength(object);
    const at = index < 0 ? index + length : index;
    if (at < 0 || at >= length) return undefined;
    const starts = codePointStarts(plain(object));
    return likewise(object, cut(object, starts?.[at] ?? at, starts?.[at + 1] ?? at + 1));
  }
  return isSequence(object) && object.view === undefined ? object.items.at(index) : undefined;
};

export const noSuch = (object: Value, name: string): Value =>
  missing(`'${typeName(object)} object' has no attribute '${name}', which`);

/** `object.name`: an attribute, else an item. */
export const attribute = (object: Value, name: string): Value => {
  if (isUndefined(object)) return undefinedError(object);
  return orElse(ownAttribute(object, name), () => orElse(itemOf(object, name), () => noSuch(object, name)));
};

/** `object[key]`: an item, else an attribute. */
export const item = (object: Value, key: Value): Value => {
  if (isUndefined(object)) return undefinedError(object);
  const found = itemOf(object, key);
  if (found !== undefined) return found;
  const name = isText(key) ? plain(key) : undefined;
  const own = name === undefined ? undefined : ownAttribute(object, name);
  return orElse(own, () => noSuch(object, name ?? plain(str(key))));
};

export const call = (callee: Value, positional: ReadonlyArray<Value>, named: Named): Value => {
  if (callee !== null && typeof callee === 'object') {
    if (callee.kind === 'function') return callee.call(positional, named);
    if (callee.kind === 'instance' && callee.call !== undefined) return callee.call(positional, named);
    if (callee.kind === 'undefined') return undefinedError(callee);
  }
  return fail(`'${typeName(callee)}' object is not callable`);
};
