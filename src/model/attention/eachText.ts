/** Layers that look back at earlier tokens, while several texts are generated at once. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose } from '../../tfjs.js';
import { clone } from '../kernels/clone.js';
import { at, inactive, isTensor, nothing, tensorsOf } from '../layers/layer.js';
import type { Layer, Value } from '../layers/layer.js';
import { cutRows, joinRows } from '../layers/putRows.js';
import type { Pass } from '../pass.js';
import type { KvCache } from './cachedAttention.js';

/** The documents that a layer is to tell apart, and what is kept of the earlier tokens of the only one there is. */
export interface Text {
  readonly cuSeqlens: Int32Array;
  readonly cache?: KvCache | undefined;
}

/** Tensors in the form of a value: one alone, or several. */
const formed = <A extends Value>(like: A, tensors: ReadonlyArray<Tensor>): A =>
  (isTensor(like) ? at(tensors, 0) : tensors) as A;

/** Each text's rows of a value. */
const cut = <A extends Value>(value: A, sizes: ReadonlyArray<number>): ReadonlyArray<A> => {
  const parts = tensorsOf(value).map((tensor) => cutRows(clone(tensor), sizes));
  return sizes.map((_, text) =>
    formed(
      value,
      parts.map((part) => at(part, text)),
    ),
  );
};

/** What was cut, joined again; consumes it. */
const joined = <B extends Value>(values: readonly [B, ...ReadonlyArray<B>]): B => {
  const all = values.map(tensorsOf);
  const whole = tensorsOf(values[0]).map((_, i) => joinRows(all.map((tensors) => at(tensors, i))));
  dispose(all.flat());
  return formed(values[0], whole);
};

/**
 * The layer over all documents of the pass; while generating, over each of them by itself, with what is kept of it. All tensors that the
 * layer reads and makes have a row a token.
 */
export const eachText = <A extends Value, B extends Value>(
  { sequence: { cuSeqlens }, caches }: Pass,
  layerOf: (text: Text) => Layer<A, B>,
): Layer<A, B> => {
  if (caches === undefined) return layerOf({ cuSeqlens });
  if (caches.length === 1) return layerOf({ cuSeqlens, cache: caches[0] });
  const sizes = Array.from(cuSeqlens.subarray(1), (end, d) => end - (cuSeqlens[d] ?? 0));
  return (weights, input) => {
    const alone = (rows: A, d: number): B => {
      const text = { cuSeqlens: Int32Array.of(0, sizes[d] ?? 0), cache: caches[d] };
      const { value } = layerOf(text)(weights, rows, nothing);
      dispose([...tensorsOf(rows)]);
      return value;
    };
    const [first, ...others] = cut(input, sizes).map(alone);
    if (first === undefined) throw new RangeError('a pass that generates needs at least one text');
    return inactive(joined([first, ...others]));
  };
};
