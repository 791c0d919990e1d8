/** Arrow files as `datasets` and pyarrow write them (reference/make_arrow.py), and Zstandard on every Node.js. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it, test } from '@jest/globals';
import { isFatal } from '../../src/errors.js';
import { arrow } from '../../src/formats/datasets/arrow.js';
import { openDataset, openDatasetChunks } from '../../src/formats/datasets/dataset.js';
import { collected, fileIn, temporaryDirectory } from './temporary.js';

const data = join(import.meta.dirname, 'data');
const dir = temporaryDirectory();
const expected = JSON.parse(readFileSync(join(data, 'rows-arrow.json'), 'utf8')) as ReadonlyArray<
  Readonly<Record<string, unknown>>
>;
const kinds = [...'ab-'.repeat(7).split(''), 'c', 'a'].map((kind) => (kind === '-' ? null : kind));
const codeOf = async (rows: AsyncIterable<unknown>): Promise<string> => {
  try {
    await collected(rows);
    return 'read';
  } catch (error) {
    if (isFatal(error)) return error.code;
    throw error;
  }
};

describe('.arrow', () => {
  it('is read as datasets writes it: strings, numbers, lists, structs, nulls', async () => {
    const rows = await collected(openDataset(join(data, 'rows-datasets.arrow')));
    expect(rows.map((row) => ('value' in row ? row.value : row.error))).toEqual(expected);
    expect(rows.map(({ line }) => line)).toEqual(expected.map((_, i) => i + 1));
  });

  it.each(['stream', 'file', 'zstd'])('is read in every form: %s', async (form) => {
    const rows = await collected(arrow(join(data, `rows-${form}.arrow`)));
    expect(rows.map((row) => ('value' in row ? row.value : row.error))).toEqual(
      expected.map(({ big: _, ...row }, i) => ({ ...row, kind: kinds[i] })),
    );
  });

  it('comes a record batch at a time', async () => {
    const chunks = await collected(openDatasetChunks(join(data, 'rows-file.arrow')));
    expect(chunks.map((chunk) => chunk.length)).toEqual([10, 10, 3]);
  });

  it('gives the columns asked for', async () => {
    const [first] = await collected(arrow(join(data, 'rows-stream.arrow'), { columns: ['score'] }));
    expect(first).toMatchObject({ value: { score: 0 } });
    expect(first !== undefined && 'value' in first ? first.value : undefined).toEqual({ score: 0 });
  });

  it('that is damaged, cut or no Arrow at all is refused by a typed error', async () => {
    const whole = readFileSync(join(data, 'rows-stream.arrow'));
    const codes = new Set<string>();
    for (let length = 1; length < whole.length - 8; length += 97) {
      codes.add(await codeOf(arrow(fileIn(dir, 'cut.arrow', whole.subarray(0, length)))));
    }
    // A cut between two batches looks like the end of the stream, to every reader.
    codes.delete('read');
    expect([...codes]).toEqual(['E_ARROW']);
    for (const bytes of ['', 'no arrow', 'ARROW1', '{"text": "a"}\n{"text": "b"}\n', new Uint8Array(64)]) {
      expect(await codeOf(arrow(fileIn(dir, 'odd.arrow', bytes)))).toBe('E_ARROW');
    }
    expect(await codeOf(arrow(join(data, 'rows-lz4.arrow')))).toBe('E_ARROW');
    expect(await codeOf(arrow(join(dir, 'none.arrow')))).toBe('E_NO_FILE');
  });
});

describe('.zst', () => {
  const file = join(data, 'two-frames.jsonl.zst');
  const whole = readFileSync(file);

  test.each([1, 7, 1000, 100_000])('is unpacked whatever is read at a time: %d bytes', async (chunkBytes) => {
    const rows = await collected(openDataset(file, { chunkBytes }));
    expect(rows.map((row) => ('value' in row ? row.value : row.error))).toEqual(
      Array.from({ length: 2100 }, (_, i) => ({
        text: i < 2000 ? `row ${i} ${'é𝄞x'.repeat(i % 40)}` : `row ${i}`,
      })),
    );
  });

  it('that is cut or damaged is refused by a typed error', async () => {
    const codes = new Set<string>();
    for (let length = 5; length < whole.length; length += 211) {
      codes.add(await codeOf(openDataset(fileIn(dir, 'cut.jsonl.zst', whole.subarray(0, length)))));
    }
    expect([...codes]).toEqual(['E_TRUNCATED_ARCHIVE']);
    expect(await codeOf(openDataset(fileIn(dir, 'odd.jsonl.zst', 'this is no zstd')))).toBe('E_CORRUPT_ARCHIVE');
    expect(await codeOf(openDataset(fileIn(dir, 'empty.jsonl.zst', '')))).toBe('read');
  });
});
