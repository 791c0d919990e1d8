import type { Sequence, Targets } from '../../src/model/sequence.js';

/** Padded rows as tokens laid end to end: each row's first `length` columns are one document. */
export const unpadded = (batch: {
  readonly input_ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly labels: ReadonlyArray<ReadonlyArray<number>>;
  readonly lengths?: ReadonlyArray<number>;
}): { readonly sequence: Sequence; readonly targets: Targets } => {
  const ids: number[] = [];
  const positions: number[] = [];
  const ends: number[] = [0];
  const rows: number[] = [];
  const labels: number[] = [];
  batch.input_ids.forEach((row, r) => {
    const length = batch.lengths?.[r] ?? row.length;
    const start = ids.length;
    row.slice(0, length).forEach((id, t) => {
      ids.push(id);
      positions.push(t);
      const label = batch.labels[r]?.[t] ?? -100;
      if (t > 0 && label !== -100) {
        rows.push(start + t - 1);
        labels.push(label);
      }
    });
    ends.push(ids.length);
  });
  return {
    sequence: {
      inputIds: Int32Array.from(ids),
      positionIds: Int32Array.from(positions),
      cuSeqlens: Int32Array.from(ends),
    },
    targets: {
      rows: Int32Array.from(rows),
      labels: Int32Array.from(labels),
      weights: new Float32Array(rows.length).fill(1 / rows.length),
    },
  };
};

/** One or more documents of ids, nothing supervised. */
export const documents = (...rows: ReadonlyArray<ReadonlyArray<number>>): Sequence =>
  unpadded({ input_ids: rows, labels: rows }).sequence;
