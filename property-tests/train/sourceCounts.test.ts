/** What each file gave: the parts make the whole, and each is what the file would have given alone. */
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import { encodeExample } from '../arbitraries/encodeExample.js';
import { sourced } from '../../src/formats/datasets/sourced.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { preflight } from '../../src/train/preflight/preflight.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';
import type { PrepareSummary } from '../../src/train/preparing/prepare.js';
import { sourceLines } from '../../src/train/preparing/sourceCounts.js';
import type { SourceCounts } from '../../src/train/preparing/sourceCounts.js';
import { jsonValues } from '../arbitraries/bytes.js';
import { examples } from '../arbitraries/example.js';
import { wordTokenizer } from '../arbitraries/tokenizer.js';

const tokenizer = wordTokenizer({ addBos: true, pieceLength: 3 });

const configOf = (options: SftOptions) => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: config.right.maxLength ?? 12 };
};

const files = ['a.jsonl', 'b.csv', '__proto__', undefined] as const;

const rows = fc.array(
  fc.tuple(
    fc.constantFrom(...files),
    fc.oneof({ weight: 4, arbitrary: examples().map(encodeExample) }, { weight: 1, arbitrary: jsonValues() }),
  ),
  { minLength: 1, maxLength: 14 },
);
const asRead = (read: ReadonlyArray<readonly [string | undefined, unknown]>): ReadonlyArray<unknown> =>
  read.map(([file, value], i) => (file === undefined ? value : sourced(file, i + 1, value)));

const summaryOf = async (
  raw: ReadonlyArray<unknown>,
  config: ReturnType<typeof configOf>,
): Promise<PrepareSummary | undefined> => {
  const prepared = await prepareRows(raw, { tokenizer }, config)();
  return E.isRight(prepared) ? prepared.right.summary : undefined;
};

const sum = (counts: ReadonlyArray<SourceCounts>, of: 'rowsRead' | 'rejected' | 'tokens' | 'trainedTokens'): number =>
  counts.reduce((total, one) => total + one[of], 0);

describe('the counts of each source', () => {
  test('add up to those of the whole, and the preflight tells the same', async () => {
    await fc.assert(
      fc.asyncProperty(
        rows,
        fc.integer({ min: 4, max: 24 }),
        fc.boolean(),
        fc.constantFrom('bfd' as const, 'bfd_split' as const, 'wrapped' as const),
        async (read, maxLength, packing, packingStrategy) => {
          const config = configOf({ maxLength, packing, packingStrategy });
          const summary = await summaryOf(asRead(read), config);
          if (summary === undefined) return;
          const { perSource = [] } = summary;
          expect(preflight(asRead(read), { tokenizer }, config).perSource).toEqual(perSource);
          expect(sum(perSource, 'rowsRead')).toBe(summary.rowsRead);
          // A window that is refused takes tokens of several files with it.
          if (packing && summary.fullyMasked > 0) return;
          expect(sum(perSource, 'rejected')).toBe(summary.rejected);
          expect(sum(perSource, 'tokens')).toBe(summary.tokens);
          // Where rows are split, the first token of a later piece has nothing that predicts it; where joined, each has.
          if (!packing || packingStrategy === 'bfd')
            expect(sum(perSource, 'trainedTokens')).toBe(summary.trainedTokens);
        },
      ),
    );
  });

  test('are those of each file prepared alone', async () => {
    await fc.assert(
      fc.asyncProperty(rows, fc.integer({ min: 4, max: 24 }), async (read, maxLength) => {
        const config = configOf({ maxLength });
        const whole = await summaryOf(asRead(read), config);
        if (whole === undefined) return;
        for (const own of whole.perSource ?? []) {
          const alone = await summaryOf(asRead(read.filter(([file]) => file === own.file)), config);
          if (alone !== undefined) expect(alone.perSource).toEqual([own]);
          else expect([own.rowsRead - own.rejected, own.tokens]).toEqual([0, 0]);
        }
      }),
    );
  });
});

describe('the lines that tell them', () => {
  test('name every file where there are several and not too many, with the largest first', () => {
    const counts = (file: string, tokens: number): SourceCounts => ({
      file,
      rowsRead: 3,
      rejected: 1,
      tokens,
      trainedTokens: 2,
    });
    expect(sourceLines([counts('a', 5)])).toEqual([]);
    expect(sourceLines([counts('a', 5), counts('b', 1700)])).toEqual([
      'b: 3 rows, 1 refused, 2 of 1,700 tokens trained',
      'a: 3 rows, 1 refused, 2 of 5 tokens trained',
    ]);
    const many = Array.from({ length: 20 }, (_, i) => counts(`f${i}`, i + 2));
    expect(sourceLines(many, 4)).toHaveLength(5);
    expect(sourceLines(many, 4).at(-1)).toBe('and 16 more files');
  });

  test('are absent from the packing of 0.7.10, which does not know its rows', async () => {
    const config = configOf({ maxLength: 4, packing: true, parity: 'trl-0.7.10', shuffle: false });
    const summary = await summaryOf([sourced('a', 1, { text: 'a b c d e f' })], config);
    expect(summary?.rows).toBeGreaterThan(0);
    expect(summary).not.toHaveProperty('perSource');
  });
});
