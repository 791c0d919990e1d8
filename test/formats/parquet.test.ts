import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import { openDatasetChunks } from '../../src/formats/datasets/dataset.js';
import { parquet } from '../../src/formats/datasets/parquet.js';
import { collected, fileIn, temporaryDirectory } from './temporary.js';

const data = join(import.meta.dirname, 'data');
const dir = temporaryDirectory();

/** What reference/make_parquet.py writes. */
const expected = Array.from({ length: 7 }, (_, i) => ({
  messages: [
    { role: 'user', content: `Frage ${i} é` },
    { role: 'assistant', content: 'x'.repeat(i) },
  ],
  input_ids: Array.from({ length: i }, (_unused, j) => j),
  weight: i % 3 === 0 ? null : i / 4,
  // Beyond what a double holds exactly: text, so that nobody computes with a rounded number.
  big: i === 6 ? '9007199254741004' : i,
  flag: i % 2 === 0,
  text: i === 2 ? null : `row ${i}`,
}));

describe('.parquet', () => {
  it.each(['none', 'snappy', 'zstd', 'gzip'])('is read in every codec: %s', async (codec) => {
    const rows = await collected(parquet(join(data, `rows-${codec}.parquet`)));
    expect(rows.map((row) => ('value' in row ? row.value : row.error))).toEqual(expected);
    expect(rows.map(({ line }) => line)).toEqual([1, 2, 3, 4, 5, 6, 7]);
  });

  it('comes a row group at a time', async () => {
    const chunks = await collected(openDatasetChunks(join(data, 'rows-snappy.parquet')));
    expect(chunks.map((chunk) => chunk.length)).toEqual([3, 3, 1]);
  });

  it('gives the columns asked for', async () => {
    const [first] = await collected(parquet(join(data, 'rows-zstd.parquet'), { columns: ['text'] }));
    expect(first).toMatchObject({ value: { text: 'row 0' } });
  });

  it('that is cut or damaged ends in E_PARQUET or gives rows, never anything else', async () => {
    const whole = readFileSync(join(data, 'rows-snappy.parquet'));
    for (let i = 0; i < 200; i++) {
      const bytes = Uint8Array.from(i < 40 ? whole.subarray(0, Math.floor((whole.length * i) / 40)) : whole);
      if (i >= 40) bytes[(i * 7919) % bytes.length] = (i * 31) & 0xff;
      const path = fileIn(dir, 'damaged.parquet', bytes);
      await collected(parquet(path)).catch((error: unknown) => {
        expect(error).toMatchObject({ _tag: 'FatalError', code: 'E_PARQUET' });
      });
    }
  });

  it('whose footer lists a column that its schema lacks is refused before any column is read', async () => {
    const bytes = Uint8Array.from(readFileSync(join(data, 'rows-none.parquet')));
    // Of the name in the schema alone; and in the first column's page, whose failure nobody would hear of.
    const name = Buffer.from(bytes).indexOf('input_ids');
    for (const at of [name, 4, 5, 6, 7, 8, 9]) bytes[at] = 0x7f;
    const path = fileIn(dir, 'lacking.parquet', bytes);
    await expect(collected(parquet(path))).rejects.toThrow(
      'lists a column ["input_ids","list","element"] that is not in its schema',
    );
  });
});
