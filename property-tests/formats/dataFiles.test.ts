import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { isFatal } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { csvFromBytes } from '../../src/formats/datasets/csv.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { jsonRowsFromBytes } from '../../src/formats/datasets/jsonArray.js';
import { jsonlFromBytes } from '../../src/formats/datasets/jsonl.js';
import { writeJsonLines } from '../../src/formats/json/jsonLines.js';
import { flattened } from '../../src/formats/datasets/sourced.js';
import type { Sourced } from '../../src/formats/datasets/sourced.js';
import { textFromBytes } from '../../src/formats/datasets/textFile.js';
import { invalidUtf8At } from '../../src/formats/files/utf8.js';
import { collected, temporaryDirectory } from '../../test/formats/temporary.js';
import { cuts, damages, inPieces, jsonValues, utf8 } from '../arbitraries/bytes.js';

const dir = temporaryDirectory();
type Reader = (bytes: AsyncIterable<Uint8Array>) => AsyncIterable<ReadonlyArray<Sourced>>;

const jsonLines: Reader = (bytes) => jsonlFromBytes('f', bytes);
const jsonList: Reader = (bytes) => jsonRowsFromBytes('f', bytes, 'array');
const jsonValuesInTurn: Reader = (bytes) => jsonRowsFromBytes('f', bytes, 'values');
const lines: Reader = (bytes) => textFromBytes('f', bytes, { keepEmptyLines: true });
const csv: Reader = (bytes) => csvFromBytes('f', bytes);
const csvOfShortRows: Reader = (bytes) => csvFromBytes('f', bytes, { maxLineBytes: 8 });
const readers: Readonly<Record<string, Reader>> = { jsonLines, jsonList, jsonValuesInTurn, lines, csv, csvOfShortRows };
/** They give every row in front of the one that ends the reading. */
const exact: ReadonlySet<Reader> = new Set([csv, csvOfShortRows]);

/** The rows before the end or the failure, and the failure. A failure that is not typed fails the test. */
const outcome = async (
  rows: AsyncIterable<Sourced>,
): Promise<{ readonly rows: ReadonlyArray<Sourced>; readonly failure?: FatalError }> => {
  const read: Array<Sourced> = [];
  try {
    for await (const row of rows) read.push(row);
    return { rows: read };
  } catch (error) {
    if (!isFatal(error)) throw error;
    return { rows: read, failure: error };
  }
};
const read = async (reader: Reader, bytes: Uint8Array, at: ReadonlyArray<number> = []) =>
  await outcome(flattened(reader(inPieces(bytes, at))));
const valuesOf = (rows: ReadonlyArray<Sourced>): ReadonlyArray<unknown> =>
  rows.map((row) => ('value' in row ? row.value : row.error.code));

/** Text as data files have it, and as they should not. */
const fileBytes = (): fc.Arbitrary<Uint8Array> =>
  fc.oneof(
    fc.uint8Array({ maxLength: 60 }),
    fc
      .array(
        fc.oneof(
          jsonValues().map((value) => JSON.stringify(value)),
          fc.constantFrom('', ' ', '{"a":', 'x,"y', '[', '\r', 'é\u2028', '\ufeff', '"a\n""b"', 'a,a', 'a"b'),
        ),
        { maxLength: 8 },
      )
      .chain((parts) => fc.constantFrom('\n', '\r\n', ',').map((glue) => utf8(parts.join(glue)))),
    fc.array(jsonValues(), { maxLength: 6 }).map((values) => utf8(JSON.stringify(values, null, 1))),
  );

describe('laws of data files', () => {
  it.each(Object.entries(readers))('%s: rows do not depend on where chunks end', async (_name, reader) => {
    await fc.assert(
      fc.asyncProperty(fileBytes(), cuts(), async (bytes, at) => {
        const [whole, pieces] = [await read(reader, bytes), await read(reader, bytes, at)];
        expect(pieces.failure?.code).toEqual(whole.failure?.code);
        if (exact.has(reader)) {
          expect(pieces.rows).toEqual(whole.rows);
          expect(pieces.failure?.message).toEqual(whole.failure?.message);
          expect(pieces.failure?.details.line).toEqual(whole.failure?.details.line);
          expect(pieces.failure?.details.actual).toEqual(whole.failure?.details.actual);
        }
        // Of the others a failure may come while rows of its own chunk are still unread, but never change those that were.
        const count = whole.failure === undefined ? whole.rows.length : Math.min(whole.rows.length, pieces.rows.length);
        expect(pieces.rows.slice(0, count)).toEqual(whole.rows.slice(0, count));
        if (whole.failure === undefined) expect(pieces.rows.length).toBe(whole.rows.length);
      }),
      { numRuns: 120 },
    );
  });

  it.each(Object.entries(readers))(
    '%s: whatever the bytes, a row is a value or an error, and a failure is typed',
    async (_name, reader) => {
      await fc.assert(
        fc.asyncProperty(fileBytes(), damages(), cuts(), async (bytes, damage, at) => {
          const { rows } = await read(reader, damage(bytes), at);
          for (const row of rows) {
            expect('value' in row !== 'error' in row).toBe(true);
            expect(row.line).toBeGreaterThan(0);
          }
        }),
        { numRuns: 200 },
      );
    },
  );

  it('JSON Lines: reading what was written gives it back', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(jsonValues(), { maxLength: 8 }), async (values) => {
        const path = join(dir, 'rows.jsonl');
        await writeJsonLines(path, values)();
        expect(valuesOf((await outcome(openDataset(path))).rows)).toEqual(values);
      }),
      { numRuns: 40 },
    );
  });

  it('JSON Lines: every line that is not blank is a row, in its place, whatever it holds', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.uint8Array({ maxLength: 6 }).map((line) => line.map((byte) => (byte === 10 ? 65 : byte))),
          { minLength: 1, maxLength: 8 },
        ),
        cuts(),
        async (all, at) => {
          // A first line that begins like a byte-order mark is another law's matter.
          const safe = all.map((line, i) => (i === 0 ? Uint8Array.of(65, ...line) : line));
          const joined = safe.flatMap((line, i) => (i === 0 ? [...line] : [10, ...line]));
          const { rows } = await read(jsonLines, Uint8Array.from(joined), at);
          const expected = safe.flatMap((line, i) => (Buffer.from(line).toString('utf8').trim() === '' ? [] : [i + 1]));
          expect(rows.map(({ line }) => line)).toEqual(expected);
        },
      ),
      { numRuns: 120 },
    );
  });

  it('JSON Lines: a line cut anywhere is refused alone', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.dictionary(fc.string(), jsonValues(), { noNullPrototype: true }), { minLength: 1, maxLength: 5 }),
        fc.nat(),
        fc.nat(),
        async (values, which, where) => {
          const texts = values.map((value) => JSON.stringify(value));
          const index = which % texts.length;
          const cut = (texts[index] ?? '').slice(0, 1 + (where % ((texts[index] ?? '').length - 1)));
          const { rows } = await read(jsonLines, utf8(texts.map((text, i) => (i === index ? cut : text)).join('\n')));
          expect(valuesOf(rows)).toEqual(
            values.map((value, i): unknown => (i === index ? 'E_INVALID_JSON' : JSON.parse(JSON.stringify(value)))),
          );
          const refused = rows[index];
          expect(refused !== undefined && 'error' in refused ? refused.error.hint : '').toContain('cut off');
        },
      ),
      { numRuns: 80 },
    );
  });

  it('JSON lists: the elements come back, with the line each starts on', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonValues(), { maxLength: 6 }),
        fc.constantFrom<[string, string]>([',', ''], [' ,\n', '\n'], ['\r\n,\t', ' ']),
        fc.integer({ min: 0, max: 2 }),
        cuts(),
        async (values, [comma, space], indent, at) => {
          const texts = values.map((value) => JSON.stringify(value, null, indent));
          const { rows, failure } = await read(
            jsonList,
            utf8(`${space}[${space}${texts.join(comma)}${space}]${space}`),
            at,
          );
          expect(failure).toBeUndefined();
          expect(valuesOf(rows)).toEqual(values);
          const startOf = (i: number): number =>
            `${space}[${space}${texts
              .slice(0, i)
              .map((text) => text + comma)
              .join('')}`.split('\n').length;
          expect(rows.map(({ line }) => line)).toEqual(values.map((_value, i) => startOf(i)));
        },
      ),
      { numRuns: 120 },
    );
  });

  it('JSON lists: cut anywhere, the rows before are right and the cut is told', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonValues(), { minLength: 1, maxLength: 6 }),
        fc.nat(),
        cuts(),
        async (values, where, at) => {
          const bytes = utf8(JSON.stringify(values));
          const { rows, failure } = await read(jsonList, bytes.subarray(0, 1 + (where % (bytes.length - 1))), at);
          expect(failure?.code).toBe('E_TRUNCATED_JSON');
          expect(valuesOf(rows)).toEqual(values.slice(0, rows.length));
        },
      ),
      { numRuns: 120 },
    );
  });

  it('JSON values: a list without brackets and commas reads the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(jsonValues(), { maxLength: 6 }),
        fc.constantFrom('\n', ' ', '\r\n'),
        cuts(),
        async (values, glue, at) => {
          const { rows } = await read(
            jsonValuesInTurn,
            utf8(values.map((value) => JSON.stringify(value, null, 1)).join(glue)),
            at,
          );
          expect(valuesOf(rows)).toEqual(values);
        },
      ),
      { numRuns: 80 },
    );
  });

  it('text: the lines come back', async () => {
    const line = fc.string({ unit: 'grapheme', maxLength: 10 }).map((text) => text.replace(/\n|\r$/g, '.'));
    await fc.assert(
      fc.asyncProperty(
        fc.array(line, { maxLength: 8 }),
        fc.constantFrom('\n', '\r\n'),
        fc.boolean(),
        cuts(),
        async (all, glue, ended, at) => {
          const safe = all.map((text, i) => (i === 0 ? `.${text}` : text));
          const tail = ended || safe[safe.length - 1] === '' ? glue : '';
          const text = safe.length === 0 ? '' : safe.join(glue) + tail;
          expect(valuesOf((await read(lines, utf8(text), at)).rows)).toEqual(safe.map((one) => ({ text: one })));
        },
      ),
      { numRuns: 120 },
    );
  });

  it('CSV: cells come back, quotes, commas and line feeds within them too', async () => {
    const cell = fc
      .array(fc.constantFrom('a', '"', ',', '\n', '\r\n', ' ', 'é', '😀'), { maxLength: 5 })
      .map((parts) => parts.join(''));
    const quoted = (text: string): string => `"${text.replaceAll('"', '""')}"`;
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(cell, cell), { maxLength: 6 }),
        fc.constantFrom('\n', '\r\n'),
        cuts(),
        async (cells, glue, at) => {
          const text = [['k', 'l'], ...cells].map((row) => row.map(quoted).join(',')).join(glue);
          const { rows } = await read(csv, utf8(text), at);
          expect(valuesOf(rows)).toEqual(cells.map(([k, l]) => ({ k, l })));
          const startOf = (i: number): number =>
            [['k', 'l'], ...cells]
              .slice(0, i + 1)
              .map((row) => row.join('') + glue)
              .join('')
              .split('\n').length;
          expect(rows.map(({ line }) => line)).toEqual(cells.map((_row, i) => startOf(i)));
        },
      ),
      { numRuns: 80 },
    );
  });

  it('gzip: packed rows are the rows; cut anywhere, those before the cut are right and the cut is told', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(jsonValues(), { minLength: 1, maxLength: 30 }), fc.nat(), async (values, where) => {
        const packed = gzipSync(values.map((value) => `${JSON.stringify(value)}\n`).join(''));
        const path = join(dir, 'rows.jsonl.gz');
        writeFileSync(path, packed);
        expect(valuesOf((await outcome(openDataset(path))).rows)).toEqual(values);
        writeFileSync(path, packed.subarray(0, 1 + (where % (packed.length - 1))));
        const { rows, failure } = await outcome(openDataset(path));
        expect(failure?.code).toBe('E_TRUNCATED_ARCHIVE');
        expect(valuesOf(rows)).toEqual(values.slice(0, rows.length));
      }),
      { numRuns: 40 },
    );
  });

  it('UTF-8: the first invalid byte is where a strict decoder stops', () => {
    const accepts = (bytes: Uint8Array): boolean => {
      try {
        new TextDecoder('utf-8', { fatal: true }).decode(bytes);
        return true;
      } catch {
        return false;
      }
    };
    fc.assert(
      fc.property(
        fc.oneof(
          fc.uint8Array({ maxLength: 12 }),
          fc.tuple(fc.string({ unit: 'binary', maxLength: 6 }), damages()).map(([text, damage]) => damage(utf8(text))),
        ),
        (bytes) => {
          const at = invalidUtf8At(bytes);
          if (at === -1) expect(accepts(bytes)).toBe(true);
          else {
            expect(accepts(bytes.subarray(0, at))).toBe(true);
            for (let end = at + 1; end <= bytes.length; end++) expect(accepts(bytes.subarray(0, end))).toBe(false);
          }
        },
      ),
      { numRuns: 300 },
    );
  });

  it('flattening gives every row of every chunk once, in order', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.array(fc.integer(), { maxLength: 4 }), { maxLength: 6 }), async (chunks) => {
        const source = async function* () {
          for (const chunk of chunks) yield await Promise.resolve(chunk);
        };
        expect(await collected(flattened(source()))).toEqual(chunks.flat());
      }),
    );
  });
});
