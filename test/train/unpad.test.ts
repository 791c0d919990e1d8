import { expect, test } from '@jest/globals';
import { ignoreIndex } from '../../src/records.js';
import { scaleTargets, sequenceOf } from '../../src/train/step/unpad.js';

const of = (...values: ReadonlyArray<number>): Int32Array => Int32Array.from(values);

test('two rows, one of them two packed documents', () => {
  const { sequence, targets, rowOfTarget } = sequenceOf({
    shape: [2, 4],
    inputIds: of(11, 12, 13, 14, 21, 22, 7, 7),
    labels: of(11, 12, 13, 14, ignoreIndex, 22, ignoreIndex, ignoreIndex),
    attentionMask: of(1, 1, 1, 1, 1, 1, 0, 0),
    positionIds: of(0, 1, 0, 1, 0, 1, 0, 0),
    numItems: 3,
  });
  expect(sequence).toEqual({
    inputIds: of(11, 12, 13, 14, 21, 22),
    positionIds: of(0, 1, 0, 1, 0, 1),
    cuSeqlens: of(0, 2, 4, 6),
  });
  expect(targets).toEqual({ rows: of(0, 2, 4), labels: of(12, 14, 22), weights: Float32Array.of(1, 1, 1) });
  expect(rowOfTarget).toEqual(of(0, 0, 1));
});

test('a window packed the old way counts on and stays one document', () => {
  const { sequence, targets } = sequenceOf({
    shape: [1, 4],
    inputIds: of(1, 2, 3, 4),
    labels: of(1, 2, 3, 4),
    attentionMask: of(1, 1, 1, 1),
    positionIds: of(0, 1, 2, 3),
    numItems: 3,
  });
  expect(sequence.cuSeqlens).toEqual(of(0, 4));
  expect(targets.labels).toEqual(of(2, 3, 4));
});

test('weights of targets multiply', () => {
  const targets = { rows: of(0), labels: of(1), weights: Float32Array.of(0.5) };
  expect(scaleTargets(targets, 3).weights).toEqual(Float32Array.of(1.5));
});
