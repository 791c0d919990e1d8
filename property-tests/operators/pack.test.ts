import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { joinRows, sliceRow } from '../../src/operators/columns.js';
import { bestFit } from '../../src/operators/bestFit.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { pack, packRows } from '../../src/operators/pack.js';
import type { PackOptions, PackingStrategy } from '../../src/operators/pack.js';
import type { Labelled, Tokenized } from '../../src/records.js';
import { ignored, labelled, maxLengths, sorted, tokenized, tokensOf } from '../arbitraries/rows.js';
import { operatorLaws } from '../laws.js';

const strategies: ReadonlyArray<PackingStrategy> = ['bfd', 'bfd_split', 'wrapped'];
const strategy = (): fc.Arbitrary<PackingStrategy> => fc.constantFrom(...strategies);
const rows = (): fc.Arbitrary<ReadonlyArray<Tokenized>> => fc.array(tokenized({ maxDocuments: 3 }), { maxLength: 20 });
const sum = (values: ReadonlyArray<number>): number => values.reduce((total, value) => total + value, 0);

const chunked = <A, B>(values: ReadonlyArray<A>, size: number, f: (chunk: ReadonlyArray<A>) => ReadonlyArray<B>) =>
  values.flatMap((_, i) => (i % size === 0 ? f(values.slice(i, i + size)) : []));

for (const packingStrategy of strategies) {
  const options: PackOptions = { maxLength: 6, packingStrategy, packingWindow: 5 };
  operatorLaws(
    `pack (${packingStrategy})`,
    (rejecting) => pack<Tokenized>({ ...options, ...rejecting }),
    tokenized(),
    (values) => chunked(values, 5, packRows<Tokenized>(options)),
  );
}

describe('packing', () => {
  it('loses and doubles no token; bfd cuts long rows to the window first', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), strategy(), (values, maxLength, packingStrategy) => {
        const packed = tokensOf(packRows<Tokenized>({ maxLength, packingStrategy })(values));
        if (packingStrategy === 'wrapped') expect(packed).toEqual(tokensOf(values));
        else {
          const kept = packingStrategy === 'bfd' ? values.map((row) => sliceRow(row, 0, maxLength)) : values;
          expect(sorted(packed)).toEqual(sorted(tokensOf(kept)));
        }
      }),
    );
  });

  it('makes no row longer than the window, and none that is empty', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), strategy(), (values, maxLength, packingStrategy) => {
        for (const { inputIds } of packRows<Tokenized>({ maxLength, packingStrategy })(values)) {
          expect(inputIds.length).toBeGreaterThan(0);
          expect(inputIds.length).toBeLessThanOrEqual(maxLength);
        }
      }),
    );
  });

  it('keeps columns aligned: each token keeps its own mask, weight and label', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), strategy(), (values, maxLength, packingStrategy) => {
        // Every column is a function of the id, so a shifted column shows at once.
        const told = values.map(({ inputIds, seqLengths }) => ({
          inputIds,
          seqLengths,
          completionMask: Uint8Array.from(inputIds, (id) => id % 2),
          lossWeights: Float32Array.from(inputIds, (id) => id / 4),
          mine: Int32Array.from(inputIds, (id) => 3 * id),
        }));
        for (const row of packRows<(typeof told)[number]>({ maxLength, packingStrategy })(told)) {
          expect([...row.completionMask]).toEqual([...row.inputIds].map((id) => id % 2));
          expect([...row.lossWeights]).toEqual([...row.inputIds].map((id) => id / 4));
          expect([...row.mine]).toEqual([...row.inputIds].map((id) => 3 * id));
        }
      }),
    );
  });

  it('tells documents apart: their lengths add up, and each is a stretch of one row', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), strategy(), (values, maxLength, packingStrategy) => {
        const packed = packRows<Tokenized>({ maxLength, packingStrategy, documents: 'separate' })(values);
        const sources = values.map((row) => `,${[...row.inputIds].join()},`);
        for (const { inputIds, seqLengths } of packed) {
          expect(sum(seqLengths)).toBe(inputIds.length);
          let from = 0;
          for (const length of seqLengths) {
            const own = `,${[...inputIds.subarray(from, from + length)].join()},`;
            if (length > 0) expect(sources.some((source) => source.includes(own))).toBe(true);
            from += length;
          }
        }
      }),
    );
  });

  it('makes one document of a window when they are joined', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), strategy(), (values, maxLength, packingStrategy) => {
        const options = { maxLength, packingStrategy };
        const joined = packRows<Tokenized>({ ...options, documents: 'joined' })(values);
        expect(joined.map(({ seqLengths }) => seqLengths)).toEqual(joined.map(({ inputIds }) => [inputIds.length]));
        expect(tokensOf(joined)).toEqual(tokensOf(packRows<Tokenized>({ ...options, documents: 'separate' })(values)));
      }),
    );
  });

  it('commutes with masking', () => {
    fc.assert(
      fc.property(
        rows(),
        maxLengths(),
        strategy(),
        fc.boolean(),
        fc.constantFrom(undefined, false),
        (values, maxLength, packingStrategy, assistantOnlyLoss, completionOnlyLoss) => {
          const mask = maskCompletionsRow({ ignoreIndex: ignored, assistantOnlyLoss, completionOnlyLoss });
          const all = (some: ReadonlyArray<Tokenized>): ReadonlyArray<Labelled> =>
            some.flatMap((row) => {
              const result = mask(row);
              return result._tag === 'Right' ? [result.right] : [];
            });
          // Rows that masking refuses are refused either way.
          const accepted = values.filter((row) => mask(row)._tag === 'Right');
          const options = { maxLength, packingStrategy, documents: 'separate' } as const;
          const maskedFirst = packRows<Labelled>(options)(all(accepted));
          const packedFirst = all(packRows<Tokenized>(options)(accepted));
          expect(packedFirst.map(({ labels }) => [...labels])).toEqual(maskedFirst.map(({ labels }) => [...labels]));
          expect(packedFirst).toEqual(maskedFirst);
        },
      ),
    );
  });

  it('wrapped fills every window but the last', () => {
    fc.assert(
      fc.property(rows(), maxLengths(), (values, maxLength) => {
        const lengths = packRows<Tokenized>({ maxLength, packingStrategy: 'wrapped' })(values).map(
          (row) => row.inputIds.length,
        );
        expect(lengths.slice(0, -1).every((length) => length === maxLength)).toBe(true);
      }),
    );
  });

  it('best fit agrees with a plain search over open bins', () => {
    fc.assert(
      fc.property(fc.array(fc.integer({ min: 1, max: 12 })), fc.integer({ min: 12, max: 40 }), (lengths, capacity) => {
        const order = lengths.map((_, i) => i).sort((a, b) => (lengths[b] ?? 0) - (lengths[a] ?? 0));
        const bins: Array<Array<number>> = [];
        // Bins by how long they have had their present space.
        const open: Array<{ bin: number; space: number }> = [];
        for (const i of order) {
          const length = lengths[i] ?? 0;
          let best: number | undefined;
          for (const [at, { space }] of open.entries()) {
            if (space >= length && (best === undefined || space < (open[best]?.space ?? 0))) best = at;
          }
          const [taken] = best === undefined ? [] : open.splice(best, 1);
          const { bin, space } = taken ?? { bin: bins.push([]) - 1, space: capacity };
          bins[bin]?.push(i);
          open.push({ bin, space: space - length });
        }
        expect(bestFit(lengths, capacity)).toEqual(bins);
      }),
    );
  });
});

describe('columns', () => {
  it('cut and joined again are the row', () => {
    fc.assert(
      fc.property(tokenized({ maxDocuments: 1 }), fc.nat(8), (row, at) => {
        const cut = Math.min(at, row.inputIds.length);
        const again = joinRows([sliceRow(row, 0, cut), sliceRow(row, cut, row.inputIds.length)]);
        expect({ ...again, seqLengths: [sum(again.seqLengths)] }).toEqual(row);
      }),
    );
  });

  it('joined, have the tokens of the parts, and each absent column its meaning', () => {
    fc.assert(
      fc.property(fc.array(tokenized({ maxDocuments: 2 }), { minLength: 1, maxLength: 5 }), (values) => {
        const joined = joinRows(values);
        expect([...joined.inputIds]).toEqual(tokensOf(values));
        expect(joined.seqLengths).toEqual(values.flatMap((row) => row.seqLengths));
        let from = 0;
        for (const row of values) {
          const to = from + row.inputIds.length;
          if (joined.completionMask !== undefined) {
            expect([...joined.completionMask.subarray(from, to)]).toEqual([
              ...(row.completionMask ?? new Uint8Array(to - from).fill(1)),
            ]);
          }
          if (joined.lossWeights !== undefined) {
            expect([...joined.lossWeights.subarray(from, to)]).toEqual([
              ...(row.lossWeights ?? new Float32Array(to - from).fill(1)),
            ]);
          }
          from = to;
        }
      }),
    );
  });

  it('of labelled rows without labels elsewhere stay ignored', () => {
    fc.assert(
      fc.property(fc.array(labelled(), { minLength: 1, maxLength: 4 }), (values) => {
        expect([...joinRows(values).labels]).toEqual(values.flatMap((row) => [...row.labels]));
      }),
    );
  });
});
