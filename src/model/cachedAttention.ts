/**
 * Keys and values of the tokens already read, and attention of new tokens over them. They stay on the host: a step of decoding
 * reads one row of queries against all rows kept, which no engine's training kernels are made for.
 */
import { tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { AttentionAttrs } from './kernels/attention.js';

export interface Entry {
  keys: Float32Array;
  values: Float32Array;
  /** Rows in use. */
  rows: number;
}

/** One entry a layer, filled as the model is run over a prompt and then token by token. */
export interface KvCache {
  readonly layers: Map<number, Entry>;
}

export const makeKvCache = (): KvCache => ({ layers: new Map() });

const grown = (array: Float32Array, size: number): Float32Array => {
  if (array.length >= size) return array;
  const larger = new Float32Array(Math.max(size, 2 * array.length));
  larger.set(array);
  return larger;
};

/** Adds the rows of k and v [N, kvHeads · headDim] and returns the layer's entry. */
export const remember = ({ layers }: KvCache, layer: number, k: Tensor, v: Tensor): Entry => {
  const [rows = 0, width = 0] = k.shape;
  const entry = layers.get(layer) ?? { keys: new Float32Array(0), values: new Float32Array(0), rows: 0 };
  const size = (entry.rows + rows) * width;
  entry.keys = grown(entry.keys, size);
  entry.values = grown(entry.values, size);
  entry.keys.set(k.dataSync(), entry.rows * width);
  entry.values.set(v.dataSync(), entry.rows * width);
  entry.rows += rows;
  layers.set(layer, entry);
  return entry;
};

/** Attention of q [N, heads · headDim], the last N of the rows kept, over all rows kept that each may see: [N, heads · headDim]. */
export const attendCached = (
  q: Tensor,
  { keys, values, rows }: Entry,
  { heads, kvHeads, headDim, scale, window }: Omit<AttentionAttrs, 'cuSeqlens'>,
): Tensor => {
  const [n = 0, width = 0] = q.shape;
  const queries = q.dataSync();
  const out = new Float32Array(n * width);
  const kvWidth = kvHeads * headDim;
  const weights = new Float64Array(rows);
  for (let i = 0; i < n; i++) {
    const position = rows - n + i;
    const first = window === 0 ? 0 : Math.max(0, position - window + 1);
    for (let h = 0; h < heads; h++) {
      const query = i * width + h * headDim;
      const kv = Math.floor((h * kvHeads) / heads) * headDim;
      let highest = -Infinity;
      for (let j = first; j <= position; j++) {
        let score = 0;
        for (let d = 0; d < headDim; d++) score += (queries[query + d] ?? 0) * (keys[j * kvWidth + kv + d] ?? 0);
        score *= scale;
        weights[j] = score;
        if (score > highest) highest = score;
      }
      let total = 0;
      for (let j = first; j <= position; j++) {
        const weight = Math.exp((weights[j] ?? 0) - highest);
        weights[j] = weight;
        total += weight;
      }
      for (let j = first; j <= position; j++) {
        const share = (weights[j] ?? 0) / total;
        const row = j * kvWidth + kv;
        for (let d = 0; d < headDim; d++) out[query + d] = (out[query + d] ?? 0) + share * (values[row + d] ?? 0);
      }
    }
  }
  return tensor2d(out, [n, width]);
};
