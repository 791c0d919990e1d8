import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { Decoder, Errors } from 'io-ts';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import { dataError, warning } from '../errors.js';
import type { DataError, Place, Warning } from '../errors.js';
import { isSourced, placeOf, placeOfRow } from '../formats/datasets/sourced.js';
import { describe } from '../formats/describe.js';
import { nearest } from '../nearest.js';
import { isTextual, textOf, weightOf } from '../formats/examples/conversation.js';
import type { WeightedText } from '../formats/examples/conversation.js';
import { decodeExample } from '../formats/examples/example.js';
import { fieldPath, fieldsOf } from '../formats/json/fieldPath.js';
import { isJsonRecord } from '../formats/json/jsonRecord.js';
import type { JsonRecord } from '../formats/json/jsonRecord.js';
import type { Example } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';

/** Reads a row as it came; `place` is where it came from, for the error. */
export type Decode<A> = (value: unknown, place?: Place) => Either<DataError, A>;

/** Any io-ts codec, or a function such as `decodeExample`. */
export type Shape<A> = Decoder<unknown, A> | Decode<A>;

/** The first fault that io-ts found: the deepest context has the field, what was expected there and what stood there. */
const firstFault = (errors: Errors, place: Place): DataError => {
  const [fault] = errors;
  const fields = fieldsOf(fault?.context ?? []);
  const entry = fields[fields.length - 1];
  if (fault === undefined || entry === undefined) return dataError('E_ROW_SHAPE', 'The row has another shape', place);
  const field = fieldPath(fields);
  return dataError(
    'E_ROW_SHAPE',
    fault.message ?? (field === '' ? 'The row has another shape' : `"${field}" is not as it should be`),
    {
      ...place,
      ...(field === '' ? {} : { field }),
      expected: entry.type.name,
      actual: describe(entry.actual),
    },
  );
};

/** The row of a value: unpacked if it comes from a reader here, and refused with its place if it is not of the shape. */
export const decodeRow = <A>(shape: Shape<A>): ((row: unknown) => Either<DataError, A>) => {
  const decode: Decode<A> =
    typeof shape === 'function'
      ? shape
      : (value, place = {}) => {
          const result = shape.decode(value);
          return result._tag === 'Left' ? left(firstFault(result.left, place)) : result;
        };
  return (row) => {
    if (!isSourced(row)) return decode(row);
    return 'error' in row ? left(row.error) : decode(row.value, placeOf(row));
  };
};

/** Rows as they came → records. Shape: any io-ts codec, or `decodeExample` for every known data set shape. */
export const decode = <A>(shape: Shape<A>, options: Rejecting = {}): OperatorFunction<unknown, A> => {
  known('decode', amongRun({ rejects: 'optional' }), options);
  return mapping('decode', decodeRow(shape), { ...options, placeOf: placeOfRow });
};

/** A text with the row's own `weight`, where it has one. */
const textWithWeight = (
  { text, weights }: WeightedText,
  row: Readonly<Record<string, unknown>>,
  place: Place,
): Either<DataError, Example> => {
  const weight = weightOf(row['weight'], 'weight', place);
  if (weight._tag === 'Left') return weight;
  return right({
    kind: 'text',
    text,
    ...(weight.right === undefined ? {} : { weight: weight.right }),
    ...(weights.length === 0 ? {} : { textWeights: weights }),
  });
};

/** A shape: the text in the column `field`, whatever else the row holds (`dataset_text_field`); its `weight` counts. */
export const textField =
  (field: string): Decode<Example> =>
  (value, place = {}) => {
    const text = isJsonRecord(value) ? value[field] : undefined;
    if (!isJsonRecord(value) || !isTextual(text)) {
      const meant = isJsonRecord(value) && text === undefined ? nearest(field, Object.keys(value)) : undefined;
      return left(
        dataError('E_NO_TEXT_FIELD', `the row has no text in "${field}"`, {
          ...place,
          field,
          expected: 'a string',
          actual:
            isJsonRecord(value) && text === undefined
              ? `columns ${Object.keys(value).join(', ')}`
              : describe(text ?? value),
          ...(meant === undefined ? {} : { hint: `did you mean "${meant}"?` }),
        }),
      );
    }
    const read = textOf(text, field, place);
    return read._tag === 'Left' ? read : textWithWeight(read.right, value, place);
  };

/** Any function; what it takes is known where it is called. */
type AnyFunction = (...args: ReadonlyArray<never>) => unknown;

/** The warning 0.7.10 gives of a function that wants more than the row. */
const arityWarning = (formattingFunc: AnyFunction): Warning | undefined =>
  formattingFunc.length > 1
    ? warning('W_FORMATTER_ARITY', 'The formatting function has more than one parameter, and is given the row only')
    : undefined;

/**
 * What a row is to be trained as, of the row as it came, under the names of its own columns: a text, or a row of another shape
 * (`{ prompt, completion }`, `{ messages }`, …). A row that is a bare string comes as `{ text }`.
 */
export type FormattingFunc = (row: JsonRecord) => unknown;

/** What the function makes of a row; what it throws says whose fault it is. */
const calling = (formattingFunc: FormattingFunc, row: JsonRecord): unknown => {
  try {
    return formattingFunc(row);
  } catch (cause) {
    throw new Error(`formattingFunc failed: ${cause instanceof Error ? cause.message : String(cause)}`, { cause });
  }
};

/** Who is told of a `formattingFunc` that looks wrong. */
export interface FormattedByOptions {
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/**
 * A shape: what `formattingFunc` makes of each row (`formatting_func`). A text keeps the row's own `weight`; rows of token ids pass
 * as they are. `E_FORMATTER_NOT_STRING` where it makes neither a string nor a record.
 */
export const formattedBy = (formattingFunc: FormattingFunc, options: FormattedByOptions = {}): Decode<Example> => {
  const { warn } = known('formattedBy', amongRun({ warn: 'optional' }), options);
  const arity = arityWarning(formattingFunc);
  if (arity !== undefined) warn?.(arity);
  return (value, place = {}) => {
    const row = typeof value === 'string' ? { text: value } : value;
    if (!isJsonRecord(row)) return decodeExample(value, place);
    if ('input_ids' in row) {
      warn?.(warning('W_FORMATTER_IGNORED', 'The row is tokenised already, so the formatting function is not asked'));
      return decodeExample(row, place);
    }
    const made = calling(formattingFunc, row);
    if (typeof made === 'string') return textWithWeight({ text: made, weights: [] }, row, place);
    if (isJsonRecord(made)) return decodeExample(made, place);
    return left(
      dataError(
        'E_FORMATTER_NOT_STRING',
        'The formatting function must make a text of a row, or a row of a known shape',
        {
          ...place,
          expected: 'a string, or an object with the columns of a known shape',
          actual: describe(made),
        },
      ),
    );
  };
};
