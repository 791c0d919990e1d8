/** Rows taken from the cache are the rows that preparing gives, and everything that preparing tells is told. */
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { dataError, orThrow } from '../../src/errors.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { encodeExample } from '../arbitraries/encodeExample.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import type { Labelled } from '../../src/records.js';
import { makeRejects } from '../../src/streams/rejects.js';
import { openEntry } from '../../src/train/preparing/cache/entry.js';
import { decodeRows, encodeRows } from '../../src/train/preparing/cache/rowBlock.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';
import { makeRowNames } from '../../src/train/preparing/rowNames.js';
import { jsonValues } from '../arbitraries/bytes.js';
import { examples } from '../arbitraries/example.js';
import { labelled } from '../arbitraries/rows.js';

let tokenizer: Tokenizer;
beforeAll(async () => {
  tokenizer = await orThrow(loadTokenizer('examples/quickstart/base'));
});

const inTemporary = async <A>(use: (dir: string) => Promise<A>): Promise<A> => {
  const dir = mkdtempSync(join(tmpdir(), 'rxtune-cache-'));
  const before = process.env['RXTUNE_CACHE'];
  process.env['RXTUNE_CACHE'] = join(dir, 'cache');
  try {
    return await use(dir);
  } finally {
    if (before === undefined) delete process.env['RXTUNE_CACHE'];
    else process.env['RXTUNE_CACHE'] = before;
    rmSync(dir, { recursive: true, force: true });
  }
};

const entriesIn = (dir: string): ReadonlyArray<string> => {
  const prepared = join(dir, 'cache', 'prepared');
  return readdirSync(prepared).map((name) => join(prepared, name));
};

const configOf = (options: SftOptions) => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: config.right.maxLength ?? 24 };
};

interface How {
  readonly options: SftOptions;
  /** As evaluation rows are prepared. */
  readonly named: boolean;
  readonly maxRate: number;
  /** Refusals of a data set before this one, where several share a side door. */
  readonly refusedBefore?: number;
}

/** A data set prepared, and all that can be seen of it: rows, counts, names, and what was told, in order. */
const seen = async (files: ReadonlyArray<string>, { options, named, maxRate, refusedBefore = 0 }: How) => {
  const told: Array<unknown> = [];
  const rejects = makeRejects({ maxRate, minSeen: 3 });
  const error = dataError('E_NO_LABELS', 'of another data set');
  for (let index = 0; index < refusedBefore; index++) {
    rejects.saw('learnable');
    rejects.reject({ stage: 'learnable', index, error, record: {} });
  }
  rejects.stream.subscribe((rejected) => told.push(rejected));
  const names = named ? makeRowNames() : undefined;
  const outcome = await prepareRows(
    openDataset(files),
    { tokenizer, rejects, warn: (warning) => told.push(warning), names },
    configOf(options),
  )();
  const numbers = [1, 2, 3, 4, 5, 6];
  const result = E.isRight(outcome)
    ? { rows: outcome.right.rows, summary: outcome.right.summary }
    : { error: [outcome.left.code, outcome.left.message, outcome.left.details] };
  return {
    fromCache: E.isRight(outcome) && outcome.right.fromCache,
    isRight: E.isRight(outcome),
    visible: {
      ...result,
      told,
      counts: rejects.counts(),
      // Of a run that failed nobody asks for names.
      ...(E.isRight(outcome)
        ? { names: numbers.map((number) => [names?.roles.nameOf(number), names?.files.nameOf(number)]) }
        : {}),
    },
  };
};

const line = fc.oneof(
  { weight: 6, arbitrary: examples().map((example) => JSON.stringify(encodeExample(example))) },
  { weight: 1, arbitrary: jsonValues().map((value) => JSON.stringify(value)) },
  { weight: 1, arbitrary: fc.constantFrom('{"text":', '{"input_ids": [70000, 3, 5], "labels": [1, 3, -100]}') },
);
const lines = fc.array(line, { minLength: 1, maxLength: 12 });

const hows: fc.Arbitrary<How> = fc.record({
  options: fc
    .record({
      maxLength: fc.integer({ min: 4, max: 40 }),
      packing: fc.boolean(),
      packingStrategy: fc.constantFrom('bfd' as const, 'bfd_split' as const, 'wrapped' as const),
      assistantOnlyLoss: fc.boolean(),
      parity: fc.constantFrom('trl-0.7.10' as const, undefined, undefined),
    })
    .map(({ parity, ...rest }) => (parity === undefined ? rest : { ...rest, parity })),
  named: fc.boolean(),
  maxRate: fc.constantFrom(1, 1, 0.3),
});

const writeLines = (dir: string, name: string, rows: ReadonlyArray<string>): string => {
  const path = join(dir, name);
  writeFileSync(path, rows.map((row) => `${row}\n`).join(''));
  return path;
};

describe('prepared rows that are kept', () => {
  test('are those that preparing gives: rows, counts, names, warnings and refusals, in order', async () => {
    await fc.assert(
      fc.asyncProperty(lines, lines, hows, (first, second, how) =>
        inTemporary(async (dir) => {
          const files = [writeLines(dir, 'a.jsonl', first), writeLines(dir, 'b.jsonl', second)];
          const without = await seen(files, { ...how, options: { ...how.options, preparedCache: false } });
          const miss = await seen(files, how);
          const hit = await seen(files, how);
          expect([without.fromCache, miss.fromCache]).toEqual([false, false]);
          // What fails is not kept.
          expect(hit.fromCache).toBe(without.isRight);
          expect(miss.visible).toEqual(without.visible);
          expect(hit.visible).toEqual(without.visible);
        }),
      ),
      { numRuns: 80 },
    );
  });

  test('end a run, and count, as preparing would with the refusals that this run had before, whoever kept them', async () => {
    await fc.assert(
      fc.asyncProperty(lines, hows, fc.constantFrom(0, 0.1, 0.5, 1), fc.nat(3), (rows, how, maxRate, refusedBefore) =>
        inTemporary(async (dir) => {
          const files = [writeLines(dir, 'a.jsonl', rows)];
          await seen(files, { ...how, maxRate: 1 });
          const strict = { ...how, maxRate, refusedBefore };
          const without = await seen(files, { ...strict, options: { ...how.options, preparedCache: false } });
          expect((await seen(files, strict)).visible).toEqual(without.visible);
        }),
      ),
      { numRuns: 40 },
    );
  });

  test('are made anew, saying so, whatever was done to the file', async () => {
    await fc.assert(
      fc.asyncProperty(
        lines,
        fc.oneof(
          fc.record({ kind: fc.constant('cut' as const), at: fc.nat() }),
          fc.record({ kind: fc.constant('flipped' as const), at: fc.nat(), bit: fc.nat(7) }),
          fc.record({ kind: fc.constant('longer' as const), more: fc.uint8Array({ minLength: 1, maxLength: 40 }) }),
        ),
        (rows, damage) =>
          inTemporary(async (dir) => {
            const files = [writeLines(dir, 'a.jsonl', [...rows, '{"text": "one more"}'])];
            const how = { options: {}, named: true, maxRate: 1 };
            const whole = await seen(files, how);
            const [entry = ''] = entriesIn(dir);
            const bytes = readFileSync(entry);
            if (damage.kind === 'cut') writeFileSync(entry, bytes.subarray(0, damage.at % bytes.length));
            else if (damage.kind === 'longer') writeFileSync(entry, Buffer.concat([bytes, damage.more]));
            else {
              const at = damage.at % bytes.length;
              bytes[at] = (bytes[at] ?? 0) ^ (1 << damage.bit);
              writeFileSync(entry, bytes);
            }
            const { fromCache, visible } = await seen(files, how);
            expect(fromCache).toBe(false);
            const [first, ...rest] = visible.told;
            expect(first).toMatchObject({ code: 'W_PREPARED_CACHE', file: entry });
            expect({ ...visible, told: rest }).toEqual(whole.visible);
            const again = await seen(files, how);
            expect([again.fromCache, again.visible]).toEqual([true, whole.visible]);
          }),
      ),
      { numRuns: 60 },
    );
  });

  test('serve runs at the same time, and leave nothing half written', async () => {
    await fc.assert(
      fc.asyncProperty(lines, fc.integer({ min: 2, max: 6 }), (rows, runs) =>
        inTemporary(async (dir) => {
          const files = [writeLines(dir, 'a.jsonl', [...rows, '{"text": "one more"}'])];
          const how = { options: {}, named: false, maxRate: 1 };
          const { visible } = await seen(files, { ...how, options: { preparedCache: false } });
          const all = await Promise.all(Array.from({ length: runs }, () => seen(files, how)));
          for (const one of all) expect(one.visible).toEqual(visible);
          expect(entriesIn(dir)).toHaveLength(1);
          expect((await seen(files, how)).fromCache).toBe(true);
        }),
      ),
      { numRuns: 20 },
    );
  });

  test('are found no more once any byte of the data is another', async () => {
    await fc.assert(
      fc.asyncProperty(lines, fc.nat(), fc.integer({ min: 1, max: 255 }), (rows, place, change) =>
        inTemporary(async (dir) => {
          const file = writeLines(dir, 'a.jsonl', [...rows, '{"text": "one more"}', '{"text": "and more"}']);
          const how = { options: {}, named: false, maxRate: 1 };
          await seen([file], how);
          const bytes = readFileSync(file);
          const at = place % bytes.length;
          bytes[at] = (bytes[at] ?? 0) ^ change;
          writeFileSync(file, bytes);
          const { fromCache, visible } = await seen([file], how);
          expect(fromCache).toBe(false);
          const without = await seen([file], { ...how, options: { preparedCache: false } });
          expect(visible).toEqual(without.visible);
        }),
      ),
      { numRuns: 40 },
    );
  });
});

describe('a block of rows', () => {
  const columns = (length: number): fc.Arbitrary<Partial<Labelled>> => {
    const column = (max: number): fc.Arbitrary<Array<number>> =>
      fc.array(fc.integer({ min: 0, max }), { minLength: length, maxLength: length });
    return fc.record(
      {
        roles: column(0xff).map((x) => Uint8Array.from(x)),
        files: column(0xffff).map((x) => Uint16Array.from(x)),
        lines: column(0xffffffff).map((x) => Uint32Array.from(x)),
      },
      { requiredKeys: [] },
    );
  };
  const row = fc.oneof(
    labelled({ ignoreIndex: -100 }),
    labelled().chain((one) => columns(one.inputIds.length).map((more): Labelled => ({ ...one, ...more }))),
    labelled({ ignoreIndex: -100 }).map((one) => ({ ...one, labels: one.inputIds })),
    fc.constant<Labelled>({
      inputIds: Int32Array.of(-1, 0x7fffffff, 65_536),
      labels: Int32Array.of(-100, 0x7fffffff, 65_536),
      seqLengths: [1, 2],
    }),
  );

  test('gives back the rows it was made of', () => {
    fc.assert(
      fc.property(fc.array(row, { maxLength: 6 }), (rows) => {
        const block = encodeRows(rows);
        const { buffer, byteOffset, byteLength } = block;
        expect([byteOffset, byteLength]).toEqual([0, buffer.byteLength]);
        expect(decodeRows(buffer as ArrayBuffer)).toEqual(rows);
      }),
      { numRuns: 400 },
    );
  });
});

test('a file that ends before its last frame, at a border of frames too, is not whole', () =>
  inTemporary(async (dir) => {
    const file = writeLines(
      dir,
      'a.jsonl',
      Array.from({ length: 5000 }, (_, i) => `{"text": "row ${i}"}`),
    );
    const how = { options: {}, named: false, maxRate: 1 };
    await seen([file], how);
    const [path = ''] = entriesIn(dir);
    const bytes = readFileSync(path);
    const whole = await openEntry(path);
    const frames: Array<number> = [];
    for await (const rows of whole.rows()) frames.push(rows.length);
    await whole.close();
    expect(frames).toEqual([4096, 904]);
    // Frame heads: kind, checksum, length in two halves, behind the signature.
    const signature = bytes.indexOf(0) + 1;
    const second = signature + 16 + bytes.readUInt32LE(signature + 8);
    const last = second + 16 + bytes.readUInt32LE(second + 8);
    for (const cut of [bytes.subarray(0, last), Buffer.concat([bytes.subarray(0, second), bytes.subarray(last)])]) {
      writeFileSync(path, cut);
      await expect(openEntry(path)).rejects.toThrow(/it (ends too early|holds 4096 rows, not 5000)/);
    }
  }));
