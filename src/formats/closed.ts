/**
 * A closed record of options: each field once, with codec, default and one line of documentation. Decoding fills the defaults
 * and refuses what it does not know; flags, help texts and documentation are generated from `fields`.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import type { OptionNames } from '../checked.js';
import type { FatalError } from '../errors.js';
import { isJsonRecord } from './json/jsonRecord.js';
import { didYouMean } from '../nearest.js';
import type { FieldKind, OptionCodec } from './optionCodecs.js';
import { optionsError } from './optionsError.js';
import type { Problem } from './optionsError.js';

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

/** The names of the decoded record, for calls that no compiler has looked at. */
export const decodedNames = <F extends Fields>(fields: F): OptionNames<ValueOf<F>> =>
  Object.fromEntries(
    Object.entries<Field>(fields).map(([name, { presence }]) => [
      name,
      presence === 'optional' ? ('optional' as const) : ('required' as const),
    ]),
    // A mapped type cannot be followed through entries.
  ) as OptionNames<ValueOf<F>>;

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
