import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { ignoreIndex } from '../../src/records.js';
import type { Batch } from '../../src/records.js';
import { sequenceOf } from '../../src/train/step/unpad.js';

interface Doc {
  readonly ids: ReadonlyArray<number>;
  readonly labelled: ReadonlyArray<boolean>;
}

const docs: fc.Arbitrary<Doc> = fc
  .array(fc.tuple(fc.integer({ min: 1, max: 99 }), fc.boolean()), { minLength: 1, maxLength: 6 })
  .map((tokens) => ({
    ids: tokens.map(([id]) => id),
    labelled: tokens.map(([, labelled]) => labelled),
  }));

const rowsOfDocs = fc.array(fc.array(docs, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 });

const padId = 7;

/** A batch laid out by hand: `left` pads in front of each row, the rest behind. */
const batchOf = (rows: ReadonlyArray<ReadonlyArray<Doc>>, left: number, right: number): Batch => {
  const longest = Math.max(...rows.map((row) => row.reduce((sum, { ids }) => sum + ids.length, 0)));
  const width = longest + left + right;
  const shape = [rows.length, width] as const;
  const size = rows.length * width;
  const inputIds = new Int32Array(size).fill(padId);
  const labels = new Int32Array(size).fill(ignoreIndex);
  const attentionMask = new Int32Array(size);
  const positionIds = new Int32Array(size);
  let numItems = 0;
  rows.forEach((row, r) => {
    let at = r * width + left;
    for (const { ids, labelled } of row) {
      ids.forEach((id, position) => {
        inputIds[at] = id;
        attentionMask[at] = 1;
        positionIds[at] = position;
        if (labelled[position] === true) labels[at] = id;
        if (labelled[position] === true && position > 0) numItems++;
        at++;
      });
    }
  });
  return { shape, inputIds, labels, attentionMask, positionIds, numItems };
};

describe('sequenceOf', () => {
  test('padding on either side, of any width, changes nothing', () => {
    fc.assert(
      fc.property(rowsOfDocs, fc.nat(4), fc.nat(4), (rows, left, right) => {
        expect(sequenceOf(batchOf(rows, left, right))).toEqual(sequenceOf(batchOf(rows, 0, 0)));
      }),
    );
  });

  test('keeps every real token, in order', () => {
    fc.assert(
      fc.property(rowsOfDocs, fc.nat(4), (rows, left) => {
        const { sequence } = sequenceOf(batchOf(rows, left, 1));
        expect(Array.from(sequence.inputIds)).toEqual(rows.flatMap((row) => row.flatMap(({ ids }) => [...ids])));
      }),
    );
  });

  test('marks every document, and positions count from 0 in each', () => {
    fc.assert(
      fc.property(rowsOfDocs, (rows) => {
        const { sequence } = sequenceOf(batchOf(rows, 1, 2));
        const lengths = rows.flatMap((row) => row.map(({ ids }) => ids.length));
        const ends = lengths.reduce<ReadonlyArray<number>>((all, length) => [...all, (all.at(-1) ?? 0) + length], [0]);
        expect(Array.from(sequence.cuSeqlens)).toEqual(ends);
        expect(Array.from(sequence.positionIds)).toEqual(
          lengths.flatMap((length) => Array.from({ length }, (_, position) => position)),
        );
      }),
    );
  });

  test('every target is the label of the next token of the same document', () => {
    fc.assert(
      fc.property(rowsOfDocs, (rows) => {
        const batch = batchOf(rows, 1, 0);
        const { sequence, targets, weight } = sequenceOf(batch);
        expect(targets.rows.length).toBe(batch.numItems);
        expect(weight).toBe(batch.numItems);
        targets.rows.forEach((row, i) => {
          expect(sequence.inputIds[row + 1]).toBe(targets.labels[i]);
          expect(sequence.cuSeqlens.includes(row + 1)).toBe(false);
        });
      }),
    );
  });

  test('positions that weigh nothing are left out, the others keep their weight', () => {
    fc.assert(
      fc.property(rowsOfDocs, fc.integer({ min: 1, max: 5 }), (rows, modulus) => {
        const batch = batchOf(rows, 0, 1);
        const lossWeights = Float32Array.from(batch.inputIds, (id) => (id % (modulus + 1)) / 2);
        const plain = sequenceOf(batch);
        const weighted = sequenceOf({ ...batch, lossWeights });
        const kept = Array.from(plain.targets.labels).filter((id) => id % (modulus + 1) !== 0);
        expect(Array.from(weighted.targets.labels)).toEqual(kept);
        expect(Array.from(weighted.targets.weights)).toEqual(kept.map((id) => (id % (modulus + 1)) / 2));
      }),
    );
  });
});
