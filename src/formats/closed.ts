/**
 * A closed record of options: each field once, with codec, default and one line of documentation. Decoding fills the defaults
 * and refuses what it does not know; flags, help texts and documentation are generated from `fields`.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { usage } from '../errors.js';
import type { ErrorCode, FatalError } from '../errors.js';
import { describe, kindOf } from './describe.js';
import { fieldPath, fieldsOf } from './json/fieldPath.js';
import { isJsonRecord } from './json/jsonRecord.js';
import { didYouMean } from './nearest.js';

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

/** `default`: absent keys get the default; `optional`: they stay absent; `required`: they are refused. */
type Presence = 'default' | 'optional' | 'required';

/** One option: its codec, its default and what it is for. */
export interface Field<C extends t.Mixed = t.Mixed, P extends Presence = Presence> {
  readonly codec: C;
  readonly presence: P;
  /** Undefined unless `presence` is `default`. */
  readonly default: t.TypeOf<C> | undefined;
  readonly doc: string;
  readonly kind: FieldKind;
  /** The values of an `enum`. */
  readonly values?: ReadonlyArray<string>;
  /** Kind of the elements of a `list`. */
  readonly itemKind?: FieldKind;
}

/** Options by name. */
export type Fields = Readonly<Record<string, Field>>;

/** The decoded record: fields with a default or required are always there. */
export type ValueOf<F extends Fields> = {
  readonly [K in keyof F as F[K]['presence'] extends 'optional' ? never : K]: t.TypeOf<F[K]['codec']>;
} & {
  readonly [K in keyof F as F[K]['presence'] extends 'optional' ? K : never]?: t.TypeOf<F[K]['codec']>;
};

/** What may be passed to `decode` by typed code: everything but required fields may be left out. */
export type InputOf<F extends Fields> = {
  readonly [K in keyof F as F[K]['presence'] extends 'required' ? K : never]: t.TypeOf<F[K]['codec']>;
} & {
  readonly [K in keyof F as F[K]['presence'] extends 'required' ? never : K]?: t.TypeOf<F[K]['codec']> | undefined;
};

/** A record of options that refuses names it does not know, with the nearest one. */
export interface Closed<F extends Fields> {
  readonly name: string;
  readonly fields: F;
  /** Defaults filled in; every fault found is told in one error (`E_OPTIONS`, a usage error). `null` counts as absent where optional. */
  readonly decode: (value: unknown) => Either<FatalError, ValueOf<F>>;
  /** The same as an io-ts codec, to nest it in another record. */
  readonly codec: t.Type<ValueOf<F>, Record<string, unknown>>;
  /** The JSON form, every field with its value. */
  readonly encode: (value: ValueOf<F>) => Record<string, unknown>;
  /** All defaults, as if `{}` had been decoded; required fields are missing. */
  readonly defaults: Partial<ValueOf<F>>;
}

/** `type ClosedValue<typeof Options>` is the record that `Options.decode` gives. */
export type ClosedValue<C extends { readonly fields: Fields }> = ValueOf<C['fields']>;
/** `type ClosedInput<typeof Options>` is what typed code may pass to `Options.decode`. */
export type ClosedInput<C extends { readonly fields: Fields }> = InputOf<C['fields']>;

// --- option codecs ---------------------------------------------------------------------------------------------------------

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

// --- fields ----------------------------------------------------------------------------------------------------------------

const isOptionCodec = (codec: t.Mixed): codec is OptionCodec<unknown> => 'kind' in codec;

const kindOfCodec = (codec: t.Mixed): FieldKind => {
  if (isOptionCodec(codec)) return codec.kind;
  const tag = '_tag' in codec ? codec._tag : undefined;
  switch (tag) {
    case 'NumberType':
      return 'number';
    case 'StringType':
    case 'LiteralType':
      return 'string';
    case 'BooleanType':
      return 'boolean';
    case 'KeyofType':
      return 'enum';
    case 'ArrayType':
    case 'ReadonlyArrayType':
      return 'list';
    default:
      return 'json';
  }
};

const fieldOf = <C extends t.Mixed, P extends Presence>(
  codec: C,
  presence: P,
  value: t.TypeOf<C> | undefined,
  doc: string,
): Field<C, P> => {
  const described: Field<C, P> = { codec, presence, default: value, doc, kind: kindOfCodec(codec) };
  if (!isOptionCodec(codec)) return described;
  return {
    ...described,
    ...(codec.values === undefined ? {} : { values: codec.values }),
    ...(codec.item === undefined ? {} : { itemKind: kindOfCodec(codec.item) }),
  };
};

/** A field with a default. */
export const option = <C extends t.Mixed>(codec: C, value: NoInfer<t.TypeOf<C>>, doc: string): Field<C, 'default'> =>
  fieldOf(codec, 'default', value, doc);

/** A field that may be absent and then stays absent. */
export const optional = <C extends t.Mixed>(codec: C, doc: string): Field<C, 'optional'> =>
  fieldOf(codec, 'optional', undefined, doc);

/** A field that must be given. */
export const required = <C extends t.Mixed>(codec: C, doc: string): Field<C, 'required'> =>
  fieldOf(codec, 'required', undefined, doc);

/**
 * A flag's text as the value that the field's codec judges: numbers, booleans, lists (JSON or comma-separated) and JSON are
 * read; what cannot be read stays text, so that the codec's error shows what was written.
 */
export const fieldFromText = ({ kind, itemKind, codec }: Field, text: string): unknown => {
  const nullAllowed = codec.is(null);
  if (nullAllowed && /^(null|none)$/i.test(text.trim())) return null;
  const value = valueFromText(kind, itemKind, text);
  // Of JSON and plain text, what the field can take: a template may be spelt 42.
  return kind === 'json' && !codec.is(value) && codec.is(text) ? text : value;
};

const valueFromText = (kind: FieldKind, itemKind: FieldKind | undefined, text: string): unknown => {
  const trimmed = text.trim();
  switch (kind) {
    case 'number':
    case 'integer': {
      const value = Number(trimmed);
      return trimmed === '' || Number.isNaN(value) ? text : value;
    }
    case 'boolean':
      if (/^(true|yes|on|1)$/i.test(trimmed)) return true;
      if (/^(false|no|off|0)$/i.test(trimmed)) return false;
      return text;
    case 'list':
      if (trimmed.startsWith('[')) return jsonOrText(trimmed);
      return trimmed === ''
        ? []
        : trimmed.split(',').map((part) => valueFromText(itemKind ?? 'string', undefined, part.trim()));
    case 'json':
      return jsonOrText(text);
    case 'texts':
      return [text];
    case 'string':
    case 'enum':
      return text;
  }
};

const jsonOrText = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
};

// --- the record ------------------------------------------------------------------------------------------------------------

interface Problem extends t.ValidationError {
  readonly hint?: string;
  /** What a missing option is for: that helps more than its codec's name. */
  readonly wanted?: string;
}

const isUnion = (type: t.Decoder<unknown, unknown>): boolean => '_tag' in type && type._tag === 'UnionType';

/** A union fails once per branch; the reader wants one line about the union. */
const placeOf = (problem: Problem): { readonly path: string; readonly expected: string; readonly actual: unknown } => {
  const cut = problem.context.findIndex(({ type }) => isUnion(type));
  const context = cut === -1 ? problem.context : problem.context.slice(0, cut + 1);
  const last = context[context.length - 1];
  return {
    path: fieldPath(fieldsOf(context)),
    expected: last?.type.name ?? '',
    actual: last?.actual,
  };
};

/** io-ts's errors about options as one `FatalError`: field, expected, actual, and every further fault in the message. */
const optionsError = (name: string, errors: t.Errors, code: ErrorCode = 'E_OPTIONS'): FatalError => {
  const seen = new Map<
    string,
    { message: string; field?: string; expected?: string; actual?: string; hint?: string }
  >();
  for (const problem of errors as ReadonlyArray<Problem>) {
    const { path, expected, actual } = placeOf(problem);
    if (seen.has(path)) continue;
    seen.set(path, {
      message: problem.message ?? (path === '' ? `not a record of options for ${name}` : `wrong value for ${path}`),
      ...(path === '' ? {} : { field: path }),
      ...(problem.wanted === undefined ? {} : { expected: problem.wanted }),
      ...(problem.message === undefined || (problem.hint === undefined && problem.wanted === undefined)
        ? { expected, actual: actual === undefined ? 'nothing' : `${describe(actual)} (${kindOf(actual)})` }
        : {}),
      ...(problem.hint === undefined ? {} : { hint: problem.hint }),
    });
  }
  const [first, ...others] = seen.values();
  const { message = `wrong options for ${name}`, ...details } = first ?? {};
  const also = others.map(
    (other) =>
      `\n  also ${other.message}` +
      (other.expected === undefined ? '' : `: expected ${other.expected}`) +
      (other.actual === undefined ? '' : `, got ${other.actual}`) +
      (other.hint === undefined ? '' : ` (${other.hint})`),
  );
  return usage(code, `${name}: ${message}${also.join('')}`, details);
};

/**
 * A closed record codec; `listed` says where its options are told, for one of too many to be told in an error.
 *
 *     const Options = closed('SftConfig', { learningRate: option(positiveNumber, 2e-5, 'Peak learning rate.') });
 *     Options.decode({ lerningRate: 1 })   // left: unknown option "lerningRate", try: did you mean "learningRate"?
 */
export const closed = <F extends Fields>(name: string, fields: F, listed?: string): Closed<F> => {
  const entries = Object.entries<Field>(fields);
  const absent = (value: unknown, { presence }: Field): boolean =>
    value === undefined || (value === null && presence === 'optional');

  const validate = (u: unknown, context: t.Context): t.Validation<ValueOf<F>> => {
    if (!isJsonRecord(u)) return t.failure(u, context);
    const problems: Array<Problem> = [];
    for (const key of Object.keys(u)) {
      if (Object.hasOwn(fields, key)) continue;
      problems.push({
        value: u[key],
        context: t.appendContext(context, key, t.never, u[key]),
        message: `unknown option "${key}"`,
        hint: didYouMean(key, Object.keys(fields), listed ?? `known options: ${Object.keys(fields).join(', ')}`),
      });
    }
    const decoded: Record<string, unknown> = {};
    for (const [key, field] of entries) {
      const value: unknown = Object.hasOwn(u, key) ? u[key] : undefined;
      if (absent(value, field)) {
        if (field.presence === 'default') decoded[key] = field.default;
        else if (field.presence === 'required') {
          problems.push({
            value,
            context: t.appendContext(context, key, field.codec, value),
            message: `option "${key}" is required`,
            wanted: field.doc.replace(/\.$/, ''),
          });
        }
        continue;
      }
      const result: t.Validation<unknown> = field.codec.validate(
        value,
        t.appendContext(context, key, field.codec, value),
      );
      if (E.isLeft(result)) problems.push(...result.left);
      else decoded[key] = result.right;
    }
    // The loop above has put every field of ValueOf<F> in place, which a mapped type cannot follow.
    return problems.length === 0 ? t.success(decoded as ValueOf<F>) : t.failures(problems);
  };

  const encode = (value: ValueOf<F>): Record<string, unknown> => {
    const given = value as Readonly<Record<string, unknown>>;
    return Object.fromEntries(
      entries.flatMap(
        ([key, { codec }]): Array<[string, unknown]> =>
          given[key] === undefined ? [] : [[key, codec.encode(given[key])]],
      ),
    );
  };

  const is = (u: unknown): u is ValueOf<F> =>
    isJsonRecord(u) &&
    Object.keys(u).every((key) => Object.hasOwn(fields, key)) &&
    entries.every(([key, field]) => (u[key] === undefined ? field.presence === 'optional' : field.codec.is(u[key])));

  const codec = new t.Type<ValueOf<F>, Record<string, unknown>>(name, is, validate, encode);
  return {
    name,
    fields,
    codec,
    encode,
    decode: (value) =>
      E.mapLeft((errors: t.Errors) => optionsError(name, errors))(
        validate(value, [{ key: '', type: codec, actual: value }]),
      ),
    defaults: Object.fromEntries(
      entries.flatMap(([key, field]) => (field.presence === 'default' ? [[key, field.default] as const] : [])),
      // Same remark as above.
    ) as Partial<ValueOf<F>>,
  };
};
