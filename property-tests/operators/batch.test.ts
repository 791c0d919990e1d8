import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import { accumulate, accumulateRows } from '../../src/operators/accumulate.js';
import { batch, batchRows } from '../../src/operators/batch.js';
import type { BatchOptions } from '../../src/operators/batch.js';
import { documentStarts } from '../../src/operators/columns.js';
import { countLearnable, learnable, learnableRow } from '../../src/operators/learnable.js';
import { lmLabels, lmLabelsRow } from '../../src/operators/lmLabels.js';
import { pad as padTo, padRow, positionsOf } from '../../src/operators/pad.js';
import { cutAsTokenizer } from '../../src/operators/tokenizerCut.js';
import { truncate, truncateRow } from '../../src/operators/truncate.js';
import type { Batch, Labelled, Row } from '../../src/records.js';
import { sequenceOf } from '../../src/train/step/unpad.js';
import { ignored, labelled, maxLengths, pad } from '../arbitraries/rows.js';
import { operatorLaws, rightsOf } from '../laws.js';

const base: BatchOptions = { padTokenId: pad, ignoreIndex: ignored };
const options = (): fc.Arbitrary<BatchOptions> =>
  fc.record({
    padTokenId: fc.constant(pad),
    ignoreIndex: fc.constant(ignored),
    paddingSide: fc.constantFrom('left', 'right'),
    padToMultipleOf: fc.constantFrom(1, 2, 5, 8),
    padToLength: fc.constantFrom(undefined, 30),
  });
const rows = (): fc.Arbitrary<ReadonlyArray<Labelled>> =>
  fc.array(labelled({ maxDocuments: 3 }), { minLength: 1, maxLength: 6 });
const column = (
  values: ArrayLike<number>,
  { shape: [, columns], attentionMask }: Batch,
  row: number,
): ReadonlyArray<number> =>
  Array.from(attentionMask.subarray(row * columns, (row + 1) * columns).keys())
    .filter((at) => attentionMask[row * columns + at] === 1)
    .map((at) => values[row * columns + at] ?? NaN);

const chunks = <A>(values: ReadonlyArray<A>, size: number): ReadonlyArray<ReadonlyArray<A>> =>
  values.flatMap((_, i) => (i % size === 0 ? [values.slice(i, i + size)] : []));

operatorLaws(
  'batch',
  (rejecting) => batch({ ...base, size: 3, ...rejecting }),
  labelled({ maxDocuments: 2 }),
  (values) => chunks(values, 3).map(batchRows(base)),
);
operatorLaws(
  'batch of a fixed length, last one dropped,',
  (rejecting) => batch({ ...base, size: 2, padToLength: 5, dropLast: true, ...rejecting }),
  labelled(),
  (values) =>
    chunks(
      values.filter(({ inputIds }) => inputIds.length <= 5),
      2,
    )
      .filter((chunk) => chunk.length === 2)
      .map(batchRows({ ...base, padToLength: 5 })),
);
operatorLaws('accumulate', () => accumulate<number>(3), fc.nat(), accumulateRows(3));
operatorLaws(
  'truncate',
  (rejecting) => truncate<Labelled>({ maxLength: 3, ...rejecting }),
  labelled(),
  rightsOf(truncateRow<Labelled>({ maxLength: 3 })),
  { oneToOne: true },
);
operatorLaws(
  'learnable',
  (rejecting) => learnable({ ignoreIndex: ignored, ...rejecting }),
  labelled(),
  rightsOf(learnableRow({ ignoreIndex: ignored })),
  { oneToOne: true },
);
operatorLaws(
  'lmLabels',
  (rejecting) => lmLabels({ padTokenId: pad, ...rejecting }),
  labelled(),
  rightsOf(lmLabelsRow({ padTokenId: pad })),
  { oneToOne: true },
);
operatorLaws(
  'pad',
  (rejecting) => padTo<Labelled>({ padTokenId: pad, ignoreIndex: ignored, length: 5, ...rejecting }),
  labelled(),
  rightsOf(padRow<Labelled>({ padTokenId: pad, ignoreIndex: ignored, length: 5 })),
  { oneToOne: true },
);

describe('batching', () => {
  it('undone gives the rows back', () => {
    fc.assert(
      fc.property(rows(), options(), (values, how) => {
        const made = batchRows({ ...how, keepFirstLabels: true })(values);
        expect(made.shape[0]).toBe(values.length);
        for (const [i, row] of values.entries()) {
          expect(column(made.inputIds, made, i)).toEqual([...row.inputIds]);
          expect(column(made.labels, made, i)).toEqual([...row.labels]);
          expect(column(made.positionIds, made, i)).toEqual([...positionsOf(row.seqLengths)]);
          if (made.lossWeights !== undefined) {
            expect(column(made.lossWeights, made, i)).toEqual([
              ...(row.lossWeights ?? new Float32Array(row.inputIds.length).fill(1)),
            ]);
          }
        }
      }),
    );
  });

  it('pads with the pad id, ignored labels and position 0, on its side only', () => {
    fc.assert(
      fc.property(rows(), options(), (values, how) => {
        const made = batchRows(how)(values);
        const [, columns] = made.shape;
        for (const [i, row] of values.entries()) {
          const gap = columns - row.inputIds.length;
          for (let c = 0; c < columns; c++) {
            const at = i * columns + c;
            const padding = how.paddingSide === 'left' ? c < gap : c >= row.inputIds.length;
            expect(made.attentionMask[at]).toBe(padding ? 0 : 1);
            if (padding) expect([made.inputIds[at], made.labels[at], made.positionIds[at]]).toEqual([pad, ignored, 0]);
          }
        }
      }),
    );
  });

  it('has as many columns as its longest row, rounded up, or as it is told', () => {
    fc.assert(
      fc.property(rows(), options(), (values, how) => {
        const longest = how.padToLength ?? Math.max(...values.map((row) => row.inputIds.length));
        const multiple = how.padToMultipleOf ?? 1;
        const [, columns] = batchRows(how)(values).shape;
        expect(columns % multiple).toBe(0);
        expect(columns - longest).toBeGreaterThanOrEqual(0);
        expect(columns - longest).toBeLessThan(multiple);
      }),
    );
  });

  it('ignores the first label of each document, and counts the others', () => {
    fc.assert(
      fc.property(rows(), options(), (values, how) => {
        const made = batchRows(how)(values);
        let items = 0;
        for (const [i, row] of values.entries()) {
          const firsts = new Set(documentStarts(row.seqLengths));
          const expected = Array.from(row.labels, (label, t) => (firsts.has(t) ? ignored : label));
          expect(column(made.labels, made, i)).toEqual(expected);
          items += expected.filter((label) => label !== ignored).length;
        }
        expect(made.numItems).toBe(items);
        expect(made.numItems).toBe(
          values.reduce((sum, row) => sum + countLearnable(row.labels, row.seqLengths, ignored), 0),
        );
      }),
    );
  });

  it('gives the model the same whatever the padding, and the same as padding-free', () => {
    fc.assert(
      fc.property(fc.array(labelled({ maxDocuments: 3 }), { minLength: 1, maxLength: 6 }), options(), (given, how) => {
        const values = given.map((row) => ({
          ...row,
          labels: row.labels.map((label) => (label === ignored ? -100 : label)),
        }));
        const free = sequenceOf(batchRows({ paddingFree: true, padToMultipleOf: how.padToMultipleOf })(values));
        const padded = sequenceOf(batchRows({ ...how, ignoreIndex: -100 })(values));
        expect(padded.sequence).toEqual(free.sequence);
        expect(padded.targets).toEqual(free.targets);
      }),
    );
  });

  it('padding-free is one row of all tokens', () => {
    fc.assert(
      fc.property(rows(), (values) => {
        const made = batchRows({ ...base, paddingFree: true })(values);
        expect(made.shape).toEqual([1, values.reduce((sum, row) => sum + row.inputIds.length, 0)]);
        expect([...made.inputIds]).toEqual(values.flatMap((row) => [...row.inputIds]));
        expect(made.attentionMask.every((bit) => bit === 1)).toBe(true);
      }),
    );
  });

  it('does not write into what it was given', () => {
    fc.assert(
      fc.property(rows(), options(), (values, how) => {
        const before = structuredClone(
          values.map(({ inputIds, labels }) => ({ inputIds: [...inputIds], labels: [...labels] })),
        );
        batchRows(how)(values);
        expect(values.map(({ inputIds, labels }) => ({ inputIds: [...inputIds], labels: [...labels] }))).toEqual(
          before,
        );
      }),
    );
  });
});

describe('accumulation', () => {
  it('makes groups of exactly the count, the last one of what is left, in order', () => {
    fc.assert(
      fc.property(fc.array(fc.nat()), fc.integer({ min: 1, max: 7 }), fc.boolean(), (values, count, dropLast) => {
        const groups = accumulateRows(count, { dropLast })(values);
        const whole = values.length - (values.length % count);
        expect(groups.flat()).toEqual(dropLast ? values.slice(0, whole) : values);
        expect(groups.length).toBe(dropLast ? Math.floor(values.length / count) : Math.ceil(values.length / count));
        for (const group of groups.slice(0, -1)) expect(group.length).toBe(count);
      }),
    );
  });

  it('of k batches of b has the labels of one batch of k·b', () => {
    fc.assert(
      fc.property(rows(), fc.integer({ min: 1, max: 3 }), (values, size) => {
        const parts = accumulateRows(size)(values).map(batchRows(base));
        const items = parts.reduce((sum, { numItems }) => sum + numItems, 0);
        expect(items).toBe(batchRows(base)(values).numItems);
      }),
    );
  });
});

describe('truncation', () => {
  it('keeps the tokens at its end of the row, every column with them', () => {
    fc.assert(
      fc.property(labelled({ maxDocuments: 3 }), maxLengths(), fc.boolean(), (row, maxLength, atStart) => {
        const result = truncateRow<Labelled>({ maxLength, truncationMode: atStart ? 'keep_start' : 'keep_end' })(row);
        if (result._tag === 'Left') throw new Error('refused');
        const kept = <A extends { slice: (from: number, to?: number) => A }>(values: A): A =>
          atStart ? values.slice(0, maxLength) : values.slice(-maxLength);
        expect(result.right.inputIds).toEqual(kept(row.inputIds));
        expect(result.right.labels).toEqual(kept(row.labels));
        expect(result.right.seqLengths.reduce((sum, length) => sum + length, 0)).toBe(result.right.inputIds.length);
        if (row.lossWeights !== undefined) expect(result.right.lossWeights).toEqual(kept(row.lossWeights));
      }),
    );
  });

  it('leaves rows that fit as they are, and all of them without a limit', () => {
    fc.assert(
      fc.property(labelled(), (row) => {
        expect(truncateRow<Labelled>({ maxLength: row.inputIds.length })(row)).toMatchObject({ right: row });
        for (const maxLength of [undefined, null])
          expect(truncateRow<Labelled>({ maxLength })(row)).toMatchObject({ right: row });
      }),
    );
  });
});

describe('the cut of tokenizers', () => {
  it('keeps what stands around a text, the rest of it in one piece, and columns in step', () => {
    const ids = () => fc.array(fc.integer({ min: 200, max: 203 }), { maxLength: 3 });
    fc.assert(
      fc.property(
        labelled(),
        ids(),
        ids(),
        fc.nat(40),
        fc.constantFrom('left', 'right'),
        (text, prefix, suffix, maxLength, side) => {
          const around = (own: ReadonlyArray<number>): Labelled => ({
            inputIds: Int32Array.from(own),
            labels: Int32Array.from(own),
            seqLengths: [own.length],
          });
          const row = around([...prefix, ...text.inputIds, ...suffix]);
          const cut = cutAsTokenizer(row, { maxLength, prefix, suffix, side });
          expect(cut.inputIds.length).toBe(Math.min(maxLength, row.inputIds.length));
          expect(cut.labels).toEqual(cut.inputIds);
          expect(cut.seqLengths.reduce((sum, length) => sum + length, 0)).toBe(cut.inputIds.length);
          const kept = maxLength - prefix.length - suffix.length;
          if (row.inputIds.length <= maxLength || kept < 0) return;
          const end = text.inputIds.length;
          const part = side === 'right' ? text.inputIds.subarray(0, kept) : text.inputIds.subarray(end - kept);
          expect([...cut.inputIds]).toEqual([...prefix, ...part, ...suffix]);
        },
      ),
    );
  });
});

describe('padding a row', () => {
  it('changes nothing but its length', () => {
    fc.assert(
      fc.property(
        labelled({ maxDocuments: 3 }),
        fc.constantFrom<'left' | 'right'>('left', 'right'),
        fc.constantFrom(1, 4, 6),
        fc.option(fc.constant(22), { nil: undefined }),
        (row, paddingSide, multipleOf, length) => {
          const result = padRow<Labelled>({ padTokenId: pad, ignoreIndex: ignored, paddingSide, multipleOf, length })(
            row,
          );
          if (result._tag === 'Left') throw new Error('refused');
          const padded = result.right;
          expect(padded.inputIds.length % multipleOf).toBe(0);
          if (length !== undefined) expect(padded.inputIds.length).toBeGreaterThanOrEqual(length);
          const real = (values: ArrayLike<number>): ReadonlyArray<number> =>
            Array.from(values).filter((_, t) => padded.attentionMask[t] === 1);
          const rest = (values: ArrayLike<number>): ReadonlyArray<number> =>
            Array.from(values).filter((_, t) => padded.attentionMask[t] === 0);
          expect(real(padded.inputIds)).toEqual([...row.inputIds]);
          expect(real(padded.labels)).toEqual([...row.labels]);
          expect(real(padded.positionIds)).toEqual([...positionsOf(row.seqLengths)]);
          expect(rest(padded.inputIds).every((id) => id === pad)).toBe(true);
          expect(rest(padded.labels).every((label) => label === ignored)).toBe(true);
          expect(padded.attentionMask[paddingSide === 'left' ? padded.attentionMask.length - 1 : 0] ?? 1).toBe(
            row.inputIds.length > 0 ? 1 : (padded.attentionMask[0] ?? 1),
          );
        },
      ),
    );
  });

  it('refuses a row that is too long', () => {
    fc.assert(
      fc.property(labelled(), fc.nat(9), (row, length) => {
        const result = padRow<Row>({ padTokenId: pad, length })(row);
        expect(result._tag).toBe(row.inputIds.length > length ? 'Left' : 'Right');
      }),
    );
  });
});

describe('learnable', () => {
  it('refuses exactly the rows none of whose labels would count in a batch', () => {
    fc.assert(
      fc.property(labelled({ maxDocuments: 3 }), (row) => {
        const learns = batchRows(base)([row]).numItems > 0;
        expect(learnableRow({ ignoreIndex: ignored })(row)._tag).toBe(learns ? 'Right' : 'Left');
      }),
    );
  });
});

describe('labels of the language-modelling collator', () => {
  it('are the ids, every pad id ignored', () => {
    fc.assert(
      fc.property(labelled(), (row) => {
        const result = lmLabelsRow({ padTokenId: pad, ignoreIndex: ignored })(row);
        expect(result).toMatchObject({
          right: { labels: Int32Array.from(row.inputIds, (id) => (id === pad ? ignored : id)) },
        });
      }),
    );
  });
});
