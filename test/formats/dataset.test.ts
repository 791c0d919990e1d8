import { mkdirSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { describe, expect, it } from '@jest/globals';
import { isFatal, render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { openDataset, openDatasetChunks } from '../../src/formats/datasets/dataset.js';
import type { DatasetOptions } from '../../src/formats/datasets/dataset.js';
import { requireRows } from '../../src/formats/datasets/requireRows.js';
import type { Sourced } from '../../src/formats/datasets/sourced.js';
import { sharedPath } from '../shared.js';
import { collected, fileIn, temporaryDirectory } from './temporary.js';

const dir = temporaryDirectory();
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

const valueOf = (row: Sourced): unknown => ('value' in row ? row.value : row.error.code);
const read = async (
  path: string | ReadonlyArray<string>,
  options: DatasetOptions = {},
): Promise<ReadonlyArray<unknown>> =>
  (await collected(openDataset(path, options))).map((row) => [row.line, valueOf(row)]);
const failure = async (path: string | ReadonlyArray<string>, options: DatasetOptions = {}): Promise<FatalError> =>
  await collected(openDataset(path, options)).then(
    (rows) => {
      throw new Error(`read ${rows.length} rows`);
    },
    (error: unknown) => {
      if (!isFatal(error)) throw error;
      return error;
    },
  );

describe('.jsonl', () => {
  it('gives each row with its line; blank lines, CRLF, a byte-order mark and a missing last line feed do not matter', async () => {
    const path = fileIn(dir, 'a.jsonl', '\ufeff{"a":1}\r\n\n  \r\n{"a":"x\u2028y"}\n[1]');
    expect(await read(path)).toEqual([
      [1, { a: 1 }],
      [4, { a: 'x\u2028y' }],
      [5, [1]],
    ]);
  });

  it('passes a truncated line on as an error that names file, line and column', async () => {
    const path = fileIn(dir, 'cut.jsonl', '{"a":1}\n{"a": "b\n{"a":3}\n');
    const [first, second, third] = await collected(openDataset(path));
    expect(first).toMatchObject({ line: 1, value: { a: 1 } });
    expect(third).toMatchObject({ line: 3, value: { a: 3 } });
    if (second === undefined || !('error' in second)) throw new Error('no error');
    expect(second.error).toMatchObject({ code: 'E_INVALID_JSON', file: path, line: 2 });
    expect(render(second.error)).toContain(
      `${path}:2: not JSON: the text ends where the end of a string should follow (column 9)`,
    );
    expect(render(second.error)).toContain('cut off');
  });

  it('passes a line that is not UTF-8 on as an error, and reads the lines around it', async () => {
    const bytes = Buffer.concat([utf8('{"a":1}\n{"a":"'), Uint8Array.of(0xe9), utf8('"}\n{"a":3}\n')]);
    const rows = await collected(openDataset(fileIn(dir, 'latin.jsonl', bytes)));
    expect(rows.map(valueOf)).toEqual([{ a: 1 }, 'E_NOT_UTF8', { a: 3 }]);
    const [, bad] = rows;
    expect(bad !== undefined && 'error' in bad ? render(bad.error) : '').toMatch(
      /latin\.jsonl:2: .*[\s\S]*0xe9 at byte 7/,
    );
  });

  it('says that a list over several lines is a .json file', async () => {
    const [first] = await collected(openDataset(fileIn(dir, 'list.jsonl', '[\n{"a":1}\n]\n')));
    expect(first !== undefined && 'error' in first ? first.error.hint : '').toContain('.json file');
  });

  it('refuses UTF-16 and endless lines', async () => {
    expect((await failure(fileIn(dir, 'wide.jsonl', Buffer.from('\ufeff{"a":1}\n', 'utf16le')))).code).toBe('E_UTF16');
    const long = await failure(fileIn(dir, 'long.jsonl', `{"a":1}\n"${'x'.repeat(5000)}"`), {
      maxLineBytes: 1000,
      chunkBytes: 300,
    });
    expect(long).toMatchObject({ code: 'E_LINE_TOO_LONG', details: { line: 2 } });
  });
});

describe('.json', () => {
  it('gives the elements of a list with the line each starts on', async () => {
    const path = fileIn(dir, 'a.json', '\ufeff [\n  {"a": [1, {"b": "]}\\"["}]},\n\n  "x", 1.5\n, null,\n{}]\n ');
    for (const chunkBytes of [1, 2, 3, 7, 1000]) {
      expect(await read(path, { chunkBytes })).toEqual([
        [2, { a: [1, { b: ']}"[' }] }],
        [4, 'x'],
        [4, 1.5],
        [5, null],
        [6, {}],
      ]);
    }
    expect(await read(fileIn(dir, 'none.json', '[ ]'))).toEqual([]);
  });

  it('reads rows line by line and pretty-printed rows, too', async () => {
    expect(await read(fileIn(dir, 'lines.json', '{"a":1}\n{"a":\n{"a":3}'))).toEqual([
      [1, { a: 1 }],
      [2, 'E_INVALID_JSON'],
      [3, { a: 3 }],
    ]);
    expect(await read(fileIn(dir, 'pretty.json', '{\n "a": 1\n}\n{\n "a": 2 }'))).toEqual([
      [1, { a: 1 }],
      [4, { a: 2 }],
    ]);
    expect(await read(fileIn(dir, 'one.json', '{"messages": [{"role": "user"}]}'))).toEqual([
      [1, { messages: [{ role: 'user' }] }],
    ]);
  });

  it('passes a bad element on and goes on after it', async () => {
    const bytes = Buffer.concat([utf8('[{"a":nul},\n{"a":"'), Uint8Array.of(0xff), utf8('"},\n{"a":3}]')]);
    expect(await read(fileIn(dir, 'bad.json', bytes))).toEqual([
      [1, 'E_INVALID_JSON'],
      [2, 'E_NOT_UTF8'],
      [3, { a: 3 }],
    ]);
  });

  it('detects a truncated list, after the rows that are whole', async () => {
    for (const text of ['[{"a":1},\n{"a":2', '[{"a":1},\n{"a":2}', '[{"a":1},\n', '[{"a":1}\n', '[{"a":1},\n"x']) {
      const rows: Array<unknown> = [];
      const path = fileIn(dir, 'cut.json', text);
      await expect(
        (async () => {
          for await (const row of openDataset(path)) rows.push(valueOf(row));
        })(),
      ).rejects.toMatchObject({ code: 'E_TRUNCATED_JSON', details: { file: path, line: 2 } });
      expect(rows[0]).toEqual({ a: 1 });
    }
  });

  it('refuses broken structure, objects around lists, and what is no data at all', async () => {
    expect(await failure(fileIn(dir, 'b1.json', '[{"a":1}\n{"a":2}]'))).toMatchObject({
      code: 'E_INVALID_JSON',
      details: { line: 2, expected: '"," or "]"', actual: '"{"' },
    });
    expect((await failure(fileIn(dir, 'b2.json', '[{"a":[1}]'))).details).toMatchObject({
      expected: '"]"',
      actual: '"}"',
    });
    expect((await failure(fileIn(dir, 'b3.json', '[1,,2]'))).code).toBe('E_INVALID_JSON');
    expect((await failure(fileIn(dir, 'b4.json', '[1] [2]'))).details.expected).toBe('the end of the file');
    expect((await failure(fileIn(dir, 'b5.json', '[1,]'))).code).toBe('E_INVALID_JSON');
    for (const text of ['{"data": [{"a": 1}]}', '{"version": 1,\n "data": [\n{"a": 1}]}\n']) {
      const error = await failure(fileIn(dir, 'data.json', text));
      expect(error.code).toBe('E_JSON_OBJECT');
      expect(render(error)).toContain("jq -c '.data[]'");
    }
    expect((await failure(fileIn(dir, 'html.json', '<html>'))).code).toBe('E_JSON_TOP_LEVEL');
  });
});

describe('.txt', () => {
  const path = fileIn(dir, 'a.txt', 'one\r\n\ntwo\u2028three\nlast');
  it('is a row a line, empty lines left out or kept', async () => {
    expect(await read(path)).toEqual([
      [1, { text: 'one' }],
      [3, { text: 'two\u2028three' }],
      [4, { text: 'last' }],
    ]);
    expect(await read(path, { keepEmptyLines: true })).toHaveLength(4);
  });
  it('is one row, if wanted', async () => {
    expect(await read(path, { rowsAre: 'file' })).toEqual([[1, { text: 'one\r\n\ntwo\u2028three\nlast' }]]);
  });
  it('tells bytes that are not UTF-8', async () => {
    const bad = fileIn(dir, 'bad.txt', Uint8Array.of(0x61, 0x0a, 0xc3, 0x28));
    expect(await read(bad)).toEqual([
      [1, { text: 'a' }],
      [2, 'E_NOT_UTF8'],
    ]);
    expect((await failure(bad, { rowsAre: 'file' })).code).toBe('E_NOT_UTF8');
  });
});

describe('.csv and .tsv', () => {
  it('gives records named by the header, with the line each starts on', async () => {
    const path = fileIn(dir, 'a.csv', '\ufefftext,label\r\n"a ""b"", c\nd",1\r\n\r\nü,2\nlast,');
    for (const chunkBytes of [1, 5, 1000]) {
      expect(await read(path, { chunkBytes })).toEqual([
        [2, { text: 'a "b", c\nd', label: '1' }],
        [5, { text: 'ü', label: '2' }],
        [6, { text: 'last', label: '' }],
      ]);
    }
    for (const options of [{}, { delimiter: undefined }])
      expect(await read(fileIn(dir, 'a.tsv', 'a\tb\n1\t2,3\n'), options)).toEqual([[2, { a: '1', b: '2,3' }]]);
  });
  it('passes a row of another width on as an error', async () => {
    expect(await read(fileIn(dir, 'wide.csv', 'a,b\n1,2,3\n4,5\n'))).toEqual([
      [2, 'E_CSV_COLUMNS'],
      [3, { a: '4', b: '5' }],
    ]);
  });
  it('refuses broken quotes, doubled columns and other encodings', async () => {
    expect(await failure(fileIn(dir, 'q1.csv', 'a,b\n1,2\n"x,2\n'))).toMatchObject({ code: 'E_CSV' });
    expect(await failure(fileIn(dir, 'q2.csv', 'a,b\n1,x"y"\n'))).toMatchObject({
      code: 'E_CSV',
      details: { line: 2 },
    });
    // Told by the line in the file alone, and a bad byte by its own.
    expect((await failure(fileIn(dir, 'q3.csv', 'a,b\n"1\n",2\n3,x"y"\n'))).message).toMatch(/^[^ ]*:4: (?!.*at line)/);
    expect((await failure(fileIn(dir, 'q3.csv', 'a,b\n1,x"y"\n'))).details.hint).toContain('doubled');
    // Cells that are parted by something else look like broken quotes.
    for (const part of [';', '\t']) {
      const parted = await failure(fileIn(dir, 'parted.csv', `a${part}b\n1${part}"x"\n`));
      expect(parted).toMatchObject({ code: 'E_CSV', details: { line: 2 } });
      expect(parted.details.hint).toContain(`delimiter: ${JSON.stringify(part)}`);
    }
    const late = fileIn(dir, 'late.csv', Buffer.from('a,b\n1,2\n"x\ny\u00e9z",3\n', 'latin1'));
    expect(await failure(late)).toMatchObject({
      code: 'E_NOT_UTF8',
      details: { line: 4, actual: 'byte 0xe9 at byte 2 of the line' },
    });
    expect((await failure(fileIn(dir, 'twice.csv', 'a,a\n1,2\n'))).code).toBe('E_CSV_HEADER');
    expect((await failure(fileIn(dir, 'latin.csv', Uint8Array.of(0x61, 0x0a, 0xe9, 0x0a)))).code).toBe('E_NOT_UTF8');
  });
});

describe('files', () => {
  it('are unpacked on the way', async () => {
    const gz = fileIn(dir, 'z.jsonl.gz', Buffer.concat([gzipSync('{"a":1}\n{"a"'), gzipSync(':2}\n')]));
    expect(await read(gz)).toEqual([
      [1, { a: 1 }],
      [2, { a: 2 }],
    ]);
    expect(await read(fileIn(dir, 'z.json.gz', gzipSync('[1,2]')))).toHaveLength(2);
    expect(await read(fileIn(dir, 'z.txt.gz', gzipSync('1\n2')))).toHaveLength(2);
    expect(await read(fileIn(dir, 'z.csv.gz', gzipSync('a\n2')))).toHaveLength(1);
  });

  it('that are cut or damaged gzip end the run with their name', async () => {
    const packed = gzipSync(Array.from({ length: 5000 }, (_, i) => `{"a":${i * 7919}}`).join('\n'));
    const cut = fileIn(dir, 'cut.jsonl.gz', packed.subarray(0, packed.length - 100));
    expect(await failure(cut)).toMatchObject({ code: 'E_TRUNCATED_ARCHIVE', details: { file: cut } });
    const flipped = Uint8Array.from(packed);
    flipped[packed.length >> 1] = 0xff ^ (flipped[packed.length >> 1] ?? 0);
    expect((await failure(fileIn(dir, 'flip.jsonl.gz', flipped))).code).toBe('E_CORRUPT_ARCHIVE');
    expect((await failure(fileIn(dir, 'not.jsonl.gz', '{"a":1}\n'))).code).toBe('E_CORRUPT_ARCHIVE');
  });

  it('that cannot be read are named', async () => {
    expect(await failure(join(dir, 'missing.jsonl'))).toMatchObject({ code: 'E_NO_FILE', kind: 'usage' });
    expect(await failure(join(dir, 'x.xlsx'))).toMatchObject({ code: 'E_UNKNOWN_FORMAT', kind: 'usage' });
    expect((await failure(fileIn(dir, 'weird.data', 'x'))).code).toBe('E_UNKNOWN_FORMAT');
    mkdirSync(join(dir, 'folder.jsonl'), { recursive: true });
    expect((await failure(join(dir, 'folder.jsonl'))).code).toBe('E_IS_DIRECTORY');
    expect((await failure(fileIn(dir, 'not.parquet', 'PAR1 and so on, but not really'))).code).toBe('E_PARQUET');
  });

  it('may be several, or a pattern', async () => {
    const many = join(dir, 'many');
    mkdirSync(join(many, 'deep'), { recursive: true });
    fileIn(many, 'b.jsonl', '2\n');
    fileIn(many, 'a.jsonl', '1\n');
    fileIn(many, '.hidden.jsonl', '9\n');
    fileIn(join(many, 'deep'), 'c.txt', '3\n');
    fileIn(many, 'odd[1].jsonl', '4\n');
    const values = async (path: string | ReadonlyArray<string>) => (await collected(openDataset(path))).map(valueOf);
    expect(await values(`${many}/[ab].jsonl`)).toEqual([1, 2]);
    expect(await values(`${many}/?.jsonl`)).toEqual([1, 2]);
    expect(await values(`${many}/**/{c,b}.*`)).toEqual([2, { text: '3' }]);
    expect(await values([`${many}/b.jsonl`, `${many}/a.*`])).toEqual([2, 1]);
    expect(await values(`${many}/odd[1].jsonl`)).toEqual([4]);
    expect((await failure(`${many}/*.json`)).code).toBe('E_NO_FILE');
  });

  it('are closed when the loop is left, and read anew by the next loop', async () => {
    const path = fileIn(dir, 'close.jsonl', '{"a":1}\n'.repeat(1000));
    const rows = openDataset(path, { chunkBytes: 64 });
    const openFiles = async (): Promise<number> => (await readdir('/proc/self/fd').catch(() => [])).length;
    const before = await openFiles();
    for (let i = 0; i < 20; i++) {
      for await (const row of rows) {
        expect(row.line).toBe(1);
        break;
      }
    }
    expect(await openFiles()).toBeLessThanOrEqual(before);
    expect(await collected(rows)).toHaveLength(1000);
  });

  it('without rows are refused where rows are required', async () => {
    for (const [name, content] of [
      ['e.jsonl', '\n \n'],
      ['e.json', ''],
      ['e2.json', '[]'],
      ['e.txt', ''],
      ['e.csv', 'a,b\n'],
      ['e.jsonl.gz', gzipSync('')],
    ] as const) {
      const path = fileIn(dir, name, content);
      for (const rows of [openDataset(path), openDatasetChunks(path)]) {
        await expect(collected(requireRows<unknown>(rows, path))).rejects.toMatchObject({ code: 'E_EMPTY_DATASET' });
      }
    }
    const path = fileIn(dir, 'ne.jsonl', '{bad\n');
    expect(await collected(requireRows(openDataset(path), path))).toHaveLength(1);
  });
});

const datasets = sharedPath('data', 'datasets');
(datasets === undefined ? describe.skip : describe)(
  datasets === undefined ? 'real data sets (skipped: no folder of shared data)' : 'real data sets',
  () => {
    it.each([
      ['alpaca_en_demo.json.gz', 999],
      ['code_alpaca_2k.json.gz', 2017],
      ['lima.json.gz', 1029],
      ['instruction-data-0-699.json', 700],
      ['self_instruct_seed_tasks.jsonl', 175],
      ['gsm8k_train.jsonl.gz', 7473],
      ['fastchat_dummy_conversation.json.gz', 500],
      ['tinystories_0-799.json.gz', 800],
      ['wikitext_0-799.json.gz', 800],
      ['mt_bench_question.jsonl', 80],
      ['c4_demo.jsonl.gz', 300],
    ])('%s has %i rows', async (name, count) => {
      const rows = await collected(openDataset(join(datasets ?? '', name)));
      expect(rows).toHaveLength(count);
      expect(rows.filter((row) => 'error' in row)).toEqual([]);
    });
  },
);
