/** Values of templates: Python's, as far as templates can tell. */
import { fail } from './templateError.js';
import { codePointLength, isText, type Origin, plain, type Text } from './traced.js';

export interface List {
  /** A generator is what filters like `select` and `map` give: true whatever it holds, without length or items. */
  readonly kind: 'list' | 'tuple' | 'generator';
  readonly items: ReadonlyArray<Value>;
  /** Where the data came from that the list was made of. */
  readonly origin?: Origin;
  /** What `items()`, `keys()` and `values()` of a dict give is a list without places. */
  readonly view?: string;
}

export type Key = string | number | boolean | null;

export interface Dict {
  readonly kind: 'dict';
  readonly entries: ReadonlyMap<Key, Value>;
  readonly origin?: Origin;
  /** Set when the dict is one of the conversation's messages. */
  readonly message?: Origin;
}

/** A float that is a whole number, which a JavaScript number could not tell from an integer. */
export interface Float {
  readonly kind: 'float';
  readonly value: number;
}

/** An integer beyond 2^53. */
export interface Big {
  readonly kind: 'integer';
  readonly value: bigint;
}

export interface Undefined {
  readonly kind: 'undefined';
  /** What was looked for, for the message of the error that using it gives. */
  readonly what: string;
}

export interface Namespace {
  readonly kind: 'namespace';
  readonly attributes: Map<string, Value>;
}

export type Named = ReadonlyMap<string, Value>;

export interface Callable {
  readonly kind: 'function';
  readonly name: string;
  readonly call: (positional: ReadonlyArray<Value>, named: Named) => Value;
  readonly attributes?: ReadonlyMap<string, Value>;
}

/** An object with attributes only: `loop`, a cycler, a joiner. */
export interface Instance {
  readonly kind: 'instance';
  readonly name: string;
  readonly attribute: (name: string) => Value | undefined;
  readonly call?: Callable['call'];
}

export type Value =
  | null
  | boolean
  | number
  | Text
  | List
  | Dict
  | Float
  | Big
  | Undefined
  | Namespace
  | Callable
  | Instance;

export const none: Named = new Map();

export const list = (items: ReadonlyArray<Value>, origin?: Origin): List => ({
  kind: 'list',
  items,
  ...(origin === undefined ? {} : { origin }),
});
export const view = (name: string, items: ReadonlyArray<Value>, origin?: Origin): List => ({
  ...list(items, origin),
  view: name,
});
export const generator = (items: ReadonlyArray<Value>): List => ({ kind: 'generator', items });
export const tuple = (items: ReadonlyArray<Value>): List => ({ kind: 'tuple', items });
export const missing = (what: string): Undefined => ({ kind: 'undefined', what });
/** A float: whole ones are boxed. */
export const float = (value: number): Value => (Number.isInteger(value) ? { kind: 'float', value } : value);
/** An integer: those beyond 2^53 are boxed. */
export const integer = (value: bigint): Value => {
  const number = Number(value);
  return Number.isSafeInteger(number) ? number : { kind: 'integer', value };
};
export const callable = (name: string, call: Callable['call']): Callable => ({ kind: 'function', name, call });

/** The value, where there is one: null is a value (`None`), so `??` will not do. */
export const orElse = (value: Value | undefined, otherwise: () => Value): Value =>
  value === undefined ? otherwise() : value;

export const isUndefined = (value: Value): value is Undefined => kindOf(value) === 'undefined';

/** The tag of a tagged value, or the JavaScript type; `none` for null. */
export const kindOf = (value: Value): string =>
  value === null ? 'none' : typeof value === 'object' ? value.kind : typeof value;

export const typeName = (value: Value): string => {
  if (value === null) return 'NoneType';
  switch (typeof value) {
    case 'boolean':
      return 'bool';
    case 'number':
      return Number.isInteger(value) ? 'int' : 'float';
    case 'string':
      return 'str';
    default:
      return value.kind === 'traced'
        ? 'str'
        : value.kind === 'integer'
          ? 'int'
          : value.kind === 'instance'
            ? value.name
            : value.kind;
  }
};

export const isBig = (value: Value): value is Big => kindOf(value) === 'integer';

/** The number of an int (rounded beyond 2^53), float or bool; undefined for anything else. */
export const numberOf = (value: Value): number | undefined => {
  if (typeof value === 'number') return value;
  if (typeof value === 'boolean') return value ? 1 : 0;
  if (typeof value !== 'object' || value === null) return undefined;
  return value.kind === 'float' ? value.value : value.kind === 'integer' ? Number(value.value) : undefined;
};

export const isFloat = (value: Value): boolean =>
  typeof value === 'number' ? !Number.isInteger(value) : typeof value === 'object' && value?.kind === 'float';

export const isInteger = (value: Value): value is number | Big => Number.isInteger(value) || isBig(value);

/** A number to compare, an integer with all its digits. */
const exactly = (value: Value): number | bigint | undefined => (isBig(value) ? value.value : numberOf(value));

export const undefinedError = (value: Undefined): never => fail(`${value.what} is undefined`);

export const truthy = (value: Value): boolean => {
  if (value === null) return false;
  switch (typeof value) {
    case 'boolean':
      return value;
    case 'number':
      return value !== 0;
    case 'string':
      return value !== '';
    default:
      switch (value.kind) {
        case 'traced':
          return value.text !== '';
        case 'list':
        case 'tuple':
          return value.items.length > 0;
        case 'dict':
          return value.entries.size > 0;
        case 'float':
          return value.value !== 0;
        case 'undefined':
          return false;
        default:
          return true;
      }
  }
};

export const equal = (a: Value, b: Value): boolean => {
  if (isText(a)) return isText(b) && plain(a) === plain(b);
  const left = exactly(a);
  const right = exactly(b);
  if (left !== undefined) return right !== undefined && left <= right && left >= right;
  if (a === null || b === null || typeof a !== 'object' || typeof b !== 'object') return a === b;
  if (isSequence(a) && isSequence(b)) {
    const { items } = b;
    return (
      a.kind === b.kind && a.items.length === items.length && a.items.every((item, i) => equal(item, items[i] ?? null))
    );
  }
  if (a.kind === 'dict' && b.kind === 'dict') {
    if (a.entries.size !== b.entries.size) return false;
    for (const [key, value] of a.entries) {
      const other = b.entries.get(key);
      if (other === undefined || !equal(value, other)) return false;
    }
    return true;
  }
  if (a.kind === 'undefined') return b.kind === 'undefined';
  return a === b;
};

/** By code point, as Python compares strings. */
const compareStrings = (a: string, b: string): number => {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    if (a.charCodeAt(i) === b.charCodeAt(i)) continue;
    // Surrogates stand for code points above all others.
    const rank = (text: string): number => {
      const unit = text.charCodeAt(i);
      return unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit;
    };
    return rank(a) - rank(b);
  }
  return a.length - b.length;
};

/** Below, at or above 0; an error for values without an order. */
export const compare = (a: Value, b: Value): number => {
  if (isText(a) && isText(b)) return compareStrings(plain(a), plain(b));
  const left = exactly(a);
  const right = exactly(b);
  if (left !== undefined && right !== undefined) {
    return typeof left === 'number' && typeof right === 'number'
      ? left - right
      : left < right
        ? -1
        : left > right
          ? 1
          : 0;
  }
  if (isUndefined(a)) return undefinedError(a);
  if (isUndefined(b)) return undefinedError(b);
  if (isSequence(a) && isSequence(b) && a.kind === b.kind) {
    for (let i = 0; i < Math.min(a.items.length, b.items.length); i++) {
      const [x, y] = [a.items[i] ?? null, b.items[i] ?? null];
      if (!equal(x, y)) return compare(x, y);
    }
    return a.items.length - b.items.length;
  }
  return fail(`'<' not supported between instances of '${typeName(a)}' and '${typeName(b)}'`);
};

export const isSequence = (value: Value): value is List => {
  const kind = kindOf(value);
  return kind === 'list' || kind === 'tuple';
};

export const isDict = (value: Value): value is Dict => kindOf(value) === 'dict';

/** A value as the key of a dict. */
export const keyOf = (value: Value): Key => {
  if (isText(value)) return plain(value);
  if (value === null || typeof value === 'boolean') return value;
  const number = numberOf(value);
  return number ?? fail(`unhashable type: '${typeName(value)}'`);
};

/** Sets an item; of keys that are equal (`True` and `1`) the first stays. */
export const setKey = (entries: Map<Key, Value>, key: Key, value: Value): void => {
  const twin = typeof key === 'boolean' ? (key ? 1 : 0) : key === 1 ? true : key === 0 ? false : key;
  entries.set(entries.has(twin) ? twin : key, value);
};

/** `True` and `1` are one key in Python. */
export const getKey = ({ entries }: Dict, key: Key): Value | undefined => {
  const value = entries.get(key);
  if (value !== undefined || typeof key === 'string' || key === null) return value;
  return typeof key === 'boolean'
    ? entries.get(key ? 1 : 0)
    : key === 1 || key === 0
      ? entries.get(key === 1)
      : undefined;
};

export const lengthOf = (value: Value): number => {
  if (isText(value)) return codePointLength(value);
  if (isSequence(value)) return value.items.length;
  if (isDict(value)) return value.entries.size;
  if (isUndefined(value)) return 0;
  return fail(`object of type '${typeName(value)}' has no len()`);
};
