import { readFile, stat } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { Decoder, Errors } from 'io-ts';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { describe } from '../describe.js';
import { writeTextAtomically } from '../files/atomicFile.js';
import { fileError } from '../files/byteSource.js';
import { strictUtf8 } from '../files/utf8.js';
import { fieldPath, fieldsOf } from './fieldPath.js';
import { excerptAt, jsonFault, lineAndColumn } from './jsonFault.js';
import type { JsonFault } from './jsonFault.js';
import { stringifyExactly } from './writtenNumbers.js';

/** Configuration and index files are small; what is larger has a wrong name. */
const maxBytes = 256 * 1024 * 1024;

/** A way to read JSON. */
export interface JsonReader {
  /** Throws as JSON.parse. */
  readonly parse: (text: string) => unknown;
  /** Where a text breaks that it does not read. Default: where plain JSON does. */
  readonly fault?: (text: string) => JsonFault | undefined;
}

const plainly: JsonReader = { parse: (text) => JSON.parse(text) as unknown };

/** The value of JSON text; `E_INVALID_JSON` tells line and column of the fault. */
export const parseJson = (
  text: string,
  file: string,
  { parse, fault = jsonFault } = plainly,
): Either<FatalError, unknown> => {
  try {
    return E.right(parse(text));
  } catch (cause) {
    const { position, message } = fault(text) ?? { position: 0, message: 'not JSON' };
    const { line, column } = lineAndColumn(text, position);
    return E.left(
      fatal('E_INVALID_JSON', `not JSON: ${message} (column ${column})`, {
        file,
        line,
        actual: excerptAt(text, position),
        cause,
      }),
    );
  }
};

/** Reads a UTF-8 text file whole, without a byte-order mark. */
export const readText = (file: string): TaskEither<FatalError, string> =>
  TE.tryCatch(
    async () => {
      const { size } = await stat(file);
      if (size > maxBytes) {
        throw fatal('E_FILE_TOO_LONG', `${file} is too long for a file of this kind`, {
          file,
          expected: `at most ${maxBytes} bytes`,
          actual: `${size} bytes`,
        });
      }
      const text = strictUtf8(await readFile(file));
      if (text === undefined) throw fatal('E_NOT_UTF8', `${file} is not UTF-8`, { file, expected: 'UTF-8 text' });
      return text.startsWith('\ufeff') ? text.slice(1) : text;
    },
    (error) => fileError(file, error),
  );

/** The value of a JSON file. */
export const readJson = (file: string, reader = plainly): TaskEither<FatalError, unknown> =>
  pipe(
    readText(file),
    TE.flatMapEither((text) => parseJson(text, file, reader)),
  );

/** A decoded value, or `code` with the field, what was expected and what stood there. */
export const decodeFrom =
  <A>(codec: Decoder<unknown, A>, file: string, code: `E_${string}` = 'E_FIELD_TYPE') =>
  (value: unknown): Either<FatalError, A> =>
    pipe(
      codec.decode(value),
      E.mapLeft((errors: Errors) => {
        const fields = fieldsOf(errors[0]?.context ?? []);
        const field = fieldPath(fields);
        const last = fields[fields.length - 1];
        return fatal(
          code,
          errors[0]?.message ?? `${field === '' ? 'the content' : `"${field}"`} is not as it should be`,
          {
            file,
            ...(field === '' ? {} : { field }),
            expected: last?.type.name ?? codec.name,
            actual: describe(last?.actual),
          },
        );
      }),
    );

export interface JsonLayout {
  /** Spaces a level; 2 by default, 0 for one line. */
  readonly indent?: number;
  /** Keys in the order of their characters, as Python's `sort_keys`. */
  readonly sortKeys?: boolean;
}

const sorted = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toSorted(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, inner]) => [key, sorted(inner)]),
  );
};

/** JSON text that ends in a line feed; numbers are written as they were read (writtenNumbers.ts). */
export const jsonText = (value: unknown, { indent = 2, sortKeys = false }: JsonLayout = {}): string =>
  `${stringifyExactly(sortKeys ? sorted(value) : value, indent)}\n`;

/** Writes a JSON file, whole or not at all. */
export const writeJson = (file: string, value: unknown, layout: JsonLayout = {}): TaskEither<FatalError, void> =>
  writeTextAtomically(file, jsonText(value, layout));
