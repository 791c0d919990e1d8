/** What one pass through a model is given besides weights and tokens. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { random } from '../seed.js';
import type { LoraConfig } from './adapters/lora.js';
import type { KvCache } from './attention/cachedAttention.js';
import type { RouterBalance } from './experts/balance.js';
import type { Layer, Value } from './layers/layer.js';
import { checkpoint } from './layers/layer.js';
import type { QuantizedBase } from './quantize/matrix.js';
import type { Sequence } from './sequence.js';

/** One pass of a model over a sequence: what its layers must know beside weights and input. */
export interface Pass {
  readonly sequence: Sequence;
  /** Rows that are read of the last hidden states, for architectures that narrow (`layers.narrowing`); absent: all. */
  readonly rows?: Int32Array | undefined;
  /** The adapter that linear layers apply where they find its weights; absent: none. */
  readonly lora?: LoraConfig | undefined;
  /** Adapters in use beside it, by the names that their tensors carry. */
  readonly further?: ReadonlyArray<FurtherAdapter> | undefined;
  /** What linear layers must know of quantised weights; absent: none is. */
  readonly quantized?: QuantizedBase | undefined;
  /** Attention step by step, not as one kernel. */
  readonly eagerAttention?: boolean | undefined;
  /** Present while training: dropout and NEFTune are on. */
  readonly training?: Training | undefined;
  readonly checkpointing?: boolean | undefined;
  /** Sees what every linear map reads, [N, I]; borrowed for the call. */
  readonly observe?: ((module: string, x: Tensor) => void) | undefined;
  /** Present where the loss has a part that balances routed experts: takes note of their routes. */
  readonly balance?: RouterBalance | undefined;
  /** Present while generating: of each document what is kept of its earlier tokens. */
  readonly caches?: ReadonlyArray<KvCache> | undefined;
}

/** An adapter in use beside the first. */
export interface FurtherAdapter {
  readonly name: string;
  readonly lora: LoraConfig;
}

/** What draws at random while training, and from which numbers. */
export interface Training {
  readonly seed: number;
  /** Tells the draws of one micro-batch from another's. */
  readonly step: number;
  /** False switches the model's own dropouts off (the adapter's stays). */
  readonly dropout: boolean;
  readonly neftuneNoiseAlpha?: number | undefined;
  /** [N, C], added to the embeddings in place of drawn noise. */
  readonly neftuneNoise?: Tensor | undefined;
}

/** A block of the model: checkpointed if the pass says so. */
export const block = <A extends Value, B extends Value>({ checkpointing }: Pass, layer: Layer<A, B>): Layer<A, B> =>
  checkpointing === true ? checkpoint(layer) : layer;

/** The uint32 seed of a dropout at a named site: the same when a checkpointed block runs again. */
export const dropoutSeed = ({ seed, step }: Training, site: string): number => {
  let hash = 0x811c9dc5; // FNV-1a
  for (let i = 0; i < site.length; i++) hash = Math.imul(hash ^ site.charCodeAt(i), 0x01000193);
  return random(seed, 'dropout', step, hash >>> 0).below(0x1_0000_0000);
};
