import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose } from '../../tfjs.js';
import type { ModelConfig } from '../config.js';
import {
  attention as attend,
  attentionGrad,
  joinedAttention as attendJoined,
  joinedAttentionGrad,
  sinksGrad,
} from '../kernels/attention.js';
import type { AttentionAttrs } from '../kernels/attention.js';
import { clone } from '../kernels/clone.js';
import { splitColumns } from '../layers/columns.js';
import type { Layer } from '../layers/layer.js';
import { compose, inactive, landedOn, passed } from '../layers/layer.js';
import { cutRows, joinRows } from '../layers/putRows.js';
import type { Pass } from '../pass.js';
import { weightOf } from '../weights.js';
import { attendCached, cached, remember } from './cachedAttention.js';
import type { KvCacheEntry } from './cachedAttention.js';
import { eachText } from './eachText.js';
import type { Text } from './eachText.js';

/** How heads attend, and which layer of the model they are. */
export interface AttentionShape extends Omit<AttentionAttrs, 'cuSeqlens'> {
  /** Which layer of the model this is: its place in the cache. */
  readonly layer: number;
  /** The layer whose keys and values these are, an earlier one. Default: its own. */
  readonly keysOf?: number | undefined;
  /** Texts are cut into chunks of so many tokens that see nothing of each other (Llama 4); 0: they are not. Default: 0. */
  readonly chunk?: number | undefined;
}

/** The heads of layer `i` as most models have them: each token sees all before it, and scores are divided by √headDim. */
export const plainHeads = (
  { numHeads, numKvHeads, headDim }: Pick<ModelConfig, 'numHeads' | 'numKvHeads' | 'headDim'>,
  i: number,
): AttentionShape => ({
  layer: i,
  heads: numHeads,
  kvHeads: numKvHeads,
  headDim,
  scale: 1 / Math.sqrt(headDim),
  window: 0,
});

/** Documents cut into chunks. */
const chunksOf = (cuSeqlens: Int32Array, chunk: number): Int32Array => {
  if (chunk === 0) return cuSeqlens;
  const cuts = [0];
  cuSeqlens.subarray(1).forEach((end, d) => {
    for (let at = (cuSeqlens[d] ?? 0) + chunk; at < end; at += chunk) cuts.push(at);
    cuts.push(end);
  });
  return Int32Array.from(cuts);
};

/** `attendCached` where each token sees no further back than its chunk begins. */
const attendChunk = (
  { q, sinks }: Parameters<typeof attendCached>[0],
  entry: KvCacheEntry,
  chunk: number,
  shape: Parameters<typeof attendCached>[2],
): Tensor => {
  const [n = 0] = q.shape;
  const alone = (row: Tensor, rows: number): Tensor =>
    attendCached({ q: row, sinks }, { ...entry, rows }, { ...shape, window: ((rows - 1) % chunk) + 1 });
  if (n === 1) return alone(q, entry.rows);
  const queries = cutRows(
    clone(q),
    Array.from({ length: n }, () => 1),
  );
  const outputs = queries.map((row, i) => alone(row, entry.rows - n + i + 1));
  const out = joinRows(outputs);
  dispose([...queries, ...outputs]);
  return out;
};

const attending =
  (
    { cuSeqlens, cache }: Text,
    eagerAttention: boolean | undefined,
    { layer, keysOf = layer, chunk = 0, ...shape }: AttentionShape,
    sinksName: string | undefined,
  ): Layer<ReadonlyArray<Tensor>, Tensor> =>
  (weights, input, wanted) => {
    const [q, k, v] = input as readonly [Tensor, Tensor, Tensor];
    const sinks = sinksName === undefined ? undefined : weightOf(weights, sinksName);
    const needSinks = sinksName !== undefined && wanted.weight(sinksName);
    if (cache !== undefined) {
      // That layer has put them there in this pass.
      const entry = keysOf === layer ? remember(cache, layer, k, v) : cached(cache, keysOf);
      if (entry.rows > k.shape[0])
        return inactive(
          chunk === 0 ? attendCached({ q, sinks }, entry, shape) : attendChunk({ q, sinks }, entry, chunk, shape),
        );
    }
    const attrs = { ...shape, cuSeqlens: chunksOf(cuSeqlens, chunk) };
    const how = eagerAttention === true ? 'reference' : 'run';
    const { out, lse } = attend({ q, k, v, sinks }, attrs, how);
    if (!wanted.input && !needSinks) {
      lse.dispose();
      return inactive(out);
    }
    const kept = { q: clone(q), k: clone(k), v: clone(v), out: clone(out), lse };
    return passed(out, Object.values(kept), (dOut, onto) => {
      const gradients =
        sinks !== undefined && needSinks ? { [sinksName]: sinksGrad({ ...kept, sinks, dOut }, attrs) } : {};
      const dInput = wanted.input ? attentionGrad({ ...kept, dOut }, attrs, how) : undefined;
      dOut.dispose();
      if (dInput === undefined) return [gradients, undefined];
      const { dq, dk, dv } = dInput;
      return [gradients, landedOn<ReadonlyArray<Tensor>>([dq, dk, dv], onto)];
    });
  };

/** [q, k, v] ↦ causal attention inside each document of the pass, [N, heads · valueDim]; `sinksName` is that of a weight [heads]. */
export const attention = (
  pass: Pass,
  shape: AttentionShape,
  sinksName?: string,
): Layer<ReadonlyArray<Tensor>, Tensor> =>
  eachText(pass, (text) => attending(text, pass.eagerAttention, shape, sinksName));

/** The same of q, k and v side by side, [N, (heads + 2 · kvHeads) · headDim], the way they come out of one projection. */
export const joinedAttention = (pass: Pass, shape: AttentionShape): Layer<Tensor, Tensor> => {
  const { heads, kvHeads, headDim } = shape;
  // Generation keeps keys and values apart.
  if (pass.caches !== undefined || pass.eagerAttention === true)
    return compose(splitColumns([heads, kvHeads, kvHeads].map((n) => n * headDim)), attention(pass, shape));
  return (_weights, qkv, wanted) => {
    const { layer: _layer, keysOf: _keysOf, chunk = 0, ...others } = shape;
    const attrs = { ...others, cuSeqlens: chunksOf(pass.sequence.cuSeqlens, chunk) };
    const { out, lse } = attendJoined(qkv, attrs);
    if (!wanted.input) {
      lse.dispose();
      return inactive(out);
    }
    const kept = { qkv: clone(qkv), out: clone(out), lse };
    return passed(out, Object.values(kept), (dOut, onto) => {
      const dQkv = joinedAttentionGrad({ ...kept, dOut }, attrs);
      dOut.dispose();
      return [{}, landedOn(dQkv, onto)];
    });
  };
};
