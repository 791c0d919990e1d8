/** Codecs of the values of options, which also say how a value is written on a command line. */
import * as t from 'io-ts';

/** How the value of an option is written on a command line. */
export type FieldKind = 'number' | 'integer' | 'boolean' | 'string' | 'enum' | 'list' | 'texts' | 'json';

/** An io-ts codec that also says how its value is written on a command line. */
export interface OptionCodec<A> extends t.Type<A, unknown> {
  readonly kind: FieldKind;
  /** The values of an `enum`. */
  readonly values?: ReadonlyArray<string>;
  /** The element codec of a `list`. */
  readonly item?: t.Mixed;
}

/** A JSON value that passes `is`; `name` is what an error calls the expectation. */
const primitive = <A extends string | number | boolean>(
  name: string,
  kind: FieldKind,
  is: (u: unknown) => u is A,
): OptionCodec<A> =>
  Object.assign(
    new t.Type<A, unknown>(name, is, (u, context) => (is(u) ? t.success(u) : t.failure(u, context)), t.identity),
    { kind },
  );

const numberWhere = (name: string, holds: (x: number) => boolean, kind: 'number' | 'integer' = 'number') =>
  primitive(name, kind, (u): u is number => typeof u === 'number' && Number.isFinite(u) && holds(u));

export const number = numberWhere('a number', () => true);
export const positiveNumber = numberWhere('a number > 0', (x) => x > 0);
export const nonNegativeNumber = numberWhere('a number ≥ 0', (x) => x >= 0);
/** 0 ≤ x ≤ 1. */
export const fraction = numberWhere('a number from 0 to 1', (x) => x >= 0 && x <= 1);
/** 0 ≤ x < 1, as dropout rates and Adam's betas must be. */
export const properFraction = numberWhere('a number from 0 to below 1', (x) => x >= 0 && x < 1);
export const integer = numberWhere('a whole number', Number.isSafeInteger, 'integer');
export const positiveInteger = numberWhere('a whole number ≥ 1', (x) => Number.isSafeInteger(x) && x >= 1, 'integer');
export const nonNegativeInteger = numberWhere(
  'a whole number ≥ 0',
  (x) => Number.isSafeInteger(x) && x >= 0,
  'integer',
);
/** A number with a condition of its own, e.g. `numberThat('-1 or a whole number ≥ 1', (x) => …, 'integer')`. */
export const numberThat = numberWhere;
export const string = primitive('a string', 'string', (u): u is string => typeof u === 'string');
export const nonEmptyString = primitive(
  'a string that is not empty',
  'string',
  (u): u is string => typeof u === 'string' && u !== '',
);
export const boolean = primitive('true or false', 'boolean', (u): u is boolean => typeof u === 'boolean');

/** One of a few strings. */
export const oneOf = <const V extends ReadonlyArray<string>>(...values: V): OptionCodec<V[number]> => {
  const is = (u: unknown): u is V[number] => typeof u === 'string' && values.includes(u);
  return Object.assign(primitive(`one of ${values.join(', ')}`, 'enum', is), { values });
};

/** A list of `item`, or a string or number alone; on a command line a comma-separated list or a repeated flag. */
export const list = <A>(item: t.Type<A, unknown>): OptionCodec<ReadonlyArray<A>> => {
  const array = t.readonlyArray(item, `a list of: ${item.name}`);
  return Object.assign(
    new t.Type<ReadonlyArray<A>, unknown>(
      array.name,
      (u): u is ReadonlyArray<A> => array.is(u),
      (u, context) => array.validate(typeof u === 'string' || typeof u === 'number' ? [u] : u, context),
      (a) => array.encode(a),
    ),
    { kind: 'list' as const, item },
  );
};

/** Texts that are not empty, as they stand: on a command line one for each time the flag is given, commas and spaces included. */
export const texts: OptionCodec<ReadonlyArray<string>> = Object.assign(list(nonEmptyString), {
  kind: 'texts' as const,
});

/** The same, where any single element, an object too, may stand for a list of one. */
export const oneOrMore = <A>(item: t.Type<A, unknown>): OptionCodec<ReadonlyArray<A>> => {
  const several = list(item);
  return Object.assign(
    new t.Type<ReadonlyArray<A>, unknown>(
      `${item.name}, or several of them`,
      several.is,
      (u, context) => several.validate(Array.isArray(u) ? u : [u], context),
      several.encode,
    ),
    { kind: 'list' as const, item },
  );
};

/** Any other codec (nested records, unions), written as JSON on a command line. */
export const json = <A>(codec: t.Type<A, unknown>): OptionCodec<A> =>
  Object.assign(
    new t.Type<A, unknown>(
      codec.name,
      (u): u is A => codec.is(u),
      (u, context) => codec.validate(u, context),
      (a) => codec.encode(a),
    ),
    { kind: 'json' as const },
  );

/** The value of `codec` or `null`, written `null` (or `none`) on a command line. */
export const nullable = <A>(codec: OptionCodec<A>): OptionCodec<A | null> => {
  const { kind, values, item } = codec;
  return Object.assign(
    new t.Type<A | null, unknown>(
      `${codec.name}, or null`,
      (u): u is A | null => u === null || codec.is(u),
      (u, context) => (u === null ? t.success(null) : codec.validate(u, context)),
      (a) => (a === null ? null : codec.encode(a)),
    ),
    { kind, ...(values === undefined ? {} : { values }), ...(item === undefined ? {} : { item }) },
  );
};
