import { describe, expect, test } from '@jest/globals';
import { lastValueFrom, take, toArray } from 'rxjs';
import { groupByLengthRows } from '../../src/operators/groupByLength.js';
import type { Labelled } from '../../src/records.js';
import { orderRows, streamedMicroBatches } from '../../src/train/step/microBatches.js';
import { pull } from '../../src/streams/pull.js';

const lengths = [7, 3, 12, 5, 9, 1, 20, 4, 4, 15, 2, 8, 6, 11, 10, 13, 3, 17, 5, 19];
const rows = lengths.map((length, i): Labelled => {
  const inputIds = new Int32Array(length).fill(i);
  return { inputIds, labels: inputIds, seqLengths: [length] };
});
const config = {
  perDeviceTrainBatchSize: 2,
  gradientAccumulationSteps: 3,
  groupByLength: true,
  shuffle: true,
  seed: 5,
  dataloaderDropLast: false,
  shuffleBuffer: 10_000,
};

describe('rows by length', () => {
  test('agree within an update, all its micro-batches together', () => {
    const order = orderRows(config, 1)(rows);
    expect(order).toEqual(groupByLengthRows({ size: 6, seed: 5, epoch: 1 })(rows));
    // Of 20 rows, 6 an update, one update is a stretch of falling lengths; but that the first has the longest row of all.
    const second = order.slice(6, 12).map(({ inputIds }) => inputIds.length);
    expect(second.slice(1)).toEqual(second.slice(1).toSorted((a, b) => b - a));
  });

  test('do so where they are streamed, too', async () => {
    const batches = await lastValueFrom(streamedMicroBatches(() => pull(rows), config).pipe(take(10), toArray()));
    const read = batches.flatMap(({ shape: [count, columns], inputIds }) =>
      Array.from({ length: count }, (_, row) => inputIds[row * columns] ?? -1),
    );
    expect(read.toSorted((a, b) => a - b)).toEqual(rows.map((_, i) => i));
    const second = read.slice(6, 12).map((i) => lengths[i] ?? 0);
    expect(second.slice(1)).toEqual(second.slice(1).toSorted((a, b) => b - a));
  });
});
