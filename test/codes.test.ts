/** Every code with which the data path refuses or warns has a test. */
import { describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { firstValueFrom, from, toArray } from 'rxjs';
import { wordTokenizer } from '../property-tests/arbitraries/tokenizer.js';
import { fileError } from '../src/formats/files/byteSource.js';
import { batch } from '../src/operators/batch.js';
import { padRow } from '../src/operators/pad.js';
import { tokenizeRow } from '../src/operators/tokenize.js';
import { decodeSftConfig } from '../src/train/options/decodeConfig.js';
import { prepareRows } from '../src/train/preparing/prepareRows.js';

const root = resolve(import.meta.dirname, '..');

const textsBelow = (folder: string, wanted: (name: string) => boolean): ReadonlyArray<string> =>
  readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts') && wanted(name))
    .map((name) => readFileSync(join(root, folder, name), 'utf8'));

/** E_NO_ZSTD is what Node.js before 22.15 says; E_PREPARE wraps what no stage has made typed, a fault of this library. */

/** Files of models, adapters, checkpoints and downloads have tests of their own. */
const elsewhere =
  /safetensors|shards|adapterFiles|checkpoint|tensorData|gguf|hub\/|directory|generationConfig|json\.ts$/;

const codesOf = (texts: ReadonlyArray<string>): ReadonlySet<string> =>
  new Set(texts.flatMap((text) => [...text.matchAll(/['`]([EW]_[A-Z0-9_]+)['`]/g)].map((match) => match[1] ?? '')));

describe('codes of the data path', () => {
  const told = codesOf([
    ...textsBelow('src/formats', (name) => !elsewhere.test(name)),
    ...textsBelow('src/operators', () => true),
    ...textsBelow('src/streams', () => true),
    ...textsBelow('src/train', (name) => /^(prepare|rowPath|promptTokens|preflight)/.test(name)),
  ]);

  test('are many, and each appears in a test', () => {
    expect(told.size).toBeGreaterThan(60);
    const tests = [...textsBelow('test', () => true), ...textsBelow('property-tests', () => true)].join('\n');
    expect([...told].filter((code) => !tests.includes(code))).toEqual([]);
  });

  test('E_NO_PERMISSION, E_FILE: what the system says of a file', () => {
    const says = (code: string): unknown => fileError('f.jsonl', Object.assign(new Error('said'), { code }));
    expect(says('EACCES')).toMatchObject({ code: 'E_NO_PERMISSION' });
    expect(says('EIO')).toMatchObject({ code: 'E_FILE', details: { file: 'f.jsonl' } });
  });

  test('E_POSITION_IDS: positions that do not count from 0 in each document', () => {
    const tokenize = tokenizeRow({ tokenizer: wordTokenizer() });
    const row = (positionIds: ReadonlyArray<number>) =>
      tokenize({ kind: 'tokenized', inputIds: [1, 2, 3], positionIds });
    expect(row([0, 2, 3])).toMatchObject({ left: { code: 'E_POSITION_IDS', field: 'position_ids' } });
    expect(row([1, 2, 3])).toMatchObject({ left: { code: 'E_POSITION_IDS' } });
    expect(row([0, 1, 0])).toMatchObject({ right: { seqLengths: [2, 1] } });
  });

  test('E_ROW_TOO_LONG: a row beyond a fixed length', async () => {
    const row = { inputIds: Int32Array.of(1, 2, 3), labels: Int32Array.of(1, 2, 3), seqLengths: [3] };
    expect(padRow({ padTokenId: 0, length: 2 })(row)).toMatchObject({ left: { code: 'E_ROW_TOO_LONG' } });
    const batched = from([row]).pipe(batch({ size: 1, padToLength: 2 }), toArray());
    await expect(firstValueFrom(batched)).rejects.toMatchObject({ code: 'E_ROW_TOO_LONG' });
  });

  const prepared = (dataset: Iterable<unknown>) => {
    const config = decodeSftConfig({ packing: true, parity: 'trl-0.7.10', maxLength: 4 });
    if (E.isLeft(config)) throw config.left;
    return prepareRows(dataset, { tokenizer: wordTokenizer() }, { ...config.right, maxLength: 4 })();
  };

  test('E_PACKING_TOKENIZED: ids where 0.7.10 packs text', async () => {
    expect(await prepared([{ input_ids: [1, 2] }])).toMatchObject({
      left: { code: 'E_PACKING_EMPTY', details: { actual: '1 row read; refused: 1 E_PACKING_TOKENIZED' } },
    });
  });

  test('E_SOURCE_FAILED: a source that breaks', async () => {
    const breaking = {
      *[Symbol.iterator]() {
        yield { text: 'a' };
        throw new Error('the source broke');
      },
    };
    expect(await prepared(breaking)).toMatchObject({ left: { code: 'E_SOURCE_FAILED' } });
  });
});
