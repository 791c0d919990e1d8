/** How tensors are rearranged for GGUF. */
import { expect, test } from '@jest/globals';
import { arranged } from '../../../src/model/gguf/arranged.js';
import { arrangedShape, inTurn, rowsAt, scaled, scaledBy } from '../../../src/model/gguf/layout.js';

const three = Float32Array.of(1, 2, 3, 4, 5, 6);

test('runs of rows are multiplied by numbers of their own, and what is behind the last as it is', () => {
  const runs = scaled([
    { rows: 1, by: 10 },
    { rows: 1, by: 100 },
  ]);
  expect(arranged(three, [3, 2], runs)).toEqual({ values: Float32Array.of(10, 20, 300, 400, 5, 6), shape: [3, 2] });
  expect(arranged(three, [6], scaledBy(2)).values).toEqual(Float32Array.of(2, 4, 6, 8, 10, 12));
  // What was given stays.
  expect(three).toEqual(Float32Array.of(1, 2, 3, 4, 5, 6));
});

test('each of several matrices is turned by itself', () => {
  const values = Float32Array.from({ length: 12 }, (_, i) => i);
  const way = { kind: 'eachTurned', count: 2 } as const;
  expect(arrangedShape([4, 3], way)).toEqual([2, 3, 2]);
  expect(arranged(values, [4, 3], way)).toEqual({
    values: Float32Array.of(0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11),
    shape: [2, 3, 2],
  });
  expect(arranged(values, [4, 3], inTurn(rowsAt([1, 0, 3, 2]), way)).values).toEqual(
    Float32Array.of(3, 0, 4, 1, 5, 2, 9, 6, 10, 7, 11, 8),
  );
});
