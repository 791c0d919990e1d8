/** What metrics are given of logits. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Unpadded } from '../step/unpad.js';

/** What `preprocessLogitsForMetrics` made of the logits, one row a trained token, with what stood there. */
export interface Predictions {
  /** [tokens, width], row-major. */
  readonly values: Float32Array;
  readonly width: number;
  /** [tokens] The id that was to be predicted. */
  readonly labels: Int32Array;
  /** [tokens] Index of the evaluated row. */
  readonly rows: Int32Array;
}

/** What was made of the logits, read; disposes it. */
export const predictionsOf = async (
  parts: ReadonlyArray<Tensor>,
  { targets, rowOfTarget }: Unpadded,
  first: number,
): Promise<Predictions> => {
  const count = targets.rows.length;
  const width = parts.reduce((sum, { size }) => sum + size, 0) / Math.max(1, count);
  const values = new Float32Array(count * width);
  let at = 0;
  for (const part of parts) {
    values.set(await part.data(), at);
    at += part.size;
    part.dispose();
  }
  return { values, width, labels: targets.labels, rows: rowOfTarget.map((row) => first + row) };
};

/** Those of all batches as one. */
export const joinedPredictions = (parts: ReadonlyArray<Predictions>): Predictions => {
  const width = parts[0]?.width ?? 0;
  const count = parts.reduce((sum, { labels }) => sum + labels.length, 0);
  const all = {
    values: new Float32Array(count * width),
    width,
    labels: new Int32Array(count),
    rows: new Int32Array(count),
  };
  let at = 0;
  for (const { values, labels, rows } of parts) {
    all.values.set(values, at * width);
    all.labels.set(labels, at);
    all.rows.set(rows, at);
    at += labels.length;
  }
  return all;
};
