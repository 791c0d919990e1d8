/** Keys and values of the tokens already read, and attention of new tokens over them. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { zeros } from '../../tfjs.js';
import type { AttentionAttrs, AttentionInputs } from '../kernels/attention.js';
import { cachedAttention, writeRows } from '../kernels/cachedAttention.js';

/** Keys and values that one layer keeps of the tokens read. */
export interface KvCacheEntry {
  /** [room, kvHeads · headDim], float32. */
  keys: Tensor;
  /** [room, kvHeads · valueDim], float32. */
  values: Tensor;
  /** Rows in use. */
  rows: number;
}

/** What is kept of the tokens read, filled as the model is run over a prompt and then token by token. Its tensors are its own. */
export interface KvCache {
  /** One entry a layer with attention. */
  readonly layers: Map<number, KvCacheEntry>;
  /** By module path: what layers that read earlier tokens otherwise keep of them. */
  readonly states: Map<string, Tensor>;
}

export const makeKvCache = (): KvCache => ({ layers: new Map(), states: new Map() });

/** Frees what is kept; the cache is empty then. */
export const emptyKvCache = ({ layers, states }: KvCache): void => {
  for (const { keys, values } of layers.values()) {
    keys.dispose();
    values.dispose();
  }
  layers.clear();
  for (const state of states.values()) state.dispose();
  states.clear();
};

/** From here on `state` is what the cache holds for the module; consumes it, and frees what it takes the place of. */
export const keepState = ({ states }: KvCache, module: string, state: Tensor): void => {
  states.get(module)?.dispose();
  states.set(module, state);
};

/** The table with x in the rows from `rows` on, in one with twice the room where there is too little. Consumes table, borrows x. */
const appended = (table: Tensor | undefined, x: Tensor, rows: number): Tensor => {
  const [n = 0, width = 0] = x.shape;
  const room = table?.shape[0] ?? 0;
  if (table !== undefined && rows + n <= room) return writeRows(table, x, rows);
  const larger = zeros([Math.max(rows + n, 2 * room), width]);
  const moved = table === undefined ? larger : writeRows(larger, table, 0);
  table?.dispose();
  return writeRows(moved, x, rows);
};

/** Adds the rows of k [N, kvHeads · headDim] and v [N, kvHeads · valueDim] and returns the layer's entry. Borrows k and v. */
export const remember = ({ layers }: KvCache, layer: number, k: Tensor, v: Tensor): KvCacheEntry => {
  const known = layers.get(layer);
  const before = known?.rows ?? 0;
  const entry = {
    keys: appended(known?.keys, k, before),
    values: appended(known?.values, v, before),
    rows: before + k.shape[0],
  };
  layers.set(layer, entry);
  return entry;
};

/** What is kept of a layer; a RangeError where there is nothing. */
export const cached = ({ layers }: KvCache, layer: number): KvCacheEntry => {
  const entry = layers.get(layer);
  if (entry === undefined) throw new RangeError(`no keys and values of layer ${layer} are kept`);
  return entry;
};

/** Attention of q [N, heads · headDim], the last N of the rows kept, over all rows kept that each may see: [N, heads · valueDim]. */
export const attendCached = (
  { q, sinks }: Pick<AttentionInputs, 'q' | 'sinks'>,
  { keys, values, rows }: KvCacheEntry,
  shape: Omit<AttentionAttrs, 'cuSeqlens'>,
): Tensor => cachedAttention({ q, keys, values, sinks }, { ...shape, rows });
