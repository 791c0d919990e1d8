/** Named weights: names are the checkpoint's own. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Weights } from './layers/layer.js';
import { remembered } from './remembered.js';

/** The weight, or a RangeError: names were checked when the model was made. */
export const weightOf = (weights: Weights, name: string): Tensor => {
  const weight = weights[name];
  if (weight === undefined) throw new RangeError(`the model has no weight "${name}"`);
  return weight;
};

/** Names of what most modules have: a weight (a norm's is its gain) and, in some checkpoints, a bias. */
export const moduleNames = remembered((module: string) => ({ weight: `${module}.weight`, bias: `${module}.bias` }));

/**
 * What a tensor of a checkpoint is, and so how it trains: norms and biases do not decay, linear maps take adapters, a buffer is saved as
 * it came: no gradient moves it. `conv1d` is GPT-2's linear map, `convolution` one over tokens, `state` what a scan over tokens is made of.
 */
export type TensorKind = 'linear' | 'conv1d' | 'embedding' | 'convolution' | 'state' | 'norm' | 'bias' | 'buffer';

/** A tensor that a checkpoint of some architecture must hold. */
export interface TensorSpec {
  readonly name: string;
  readonly shape: ReadonlyArray<number>;
  readonly kind: TensorKind;
  /** The output head: adapters leave it alone unless it is named. */
  readonly head?: boolean;
  /** It chooses experts: quantisation leaves it alone, as transformers does. */
  readonly router?: boolean;
  /** It lies as float32 under every precision. Default: matrices that do not train may lie as bfloat16. */
  readonly exact?: boolean;
  /** Numbers a token that are kept for the way back of what it puts out and what comes of that. Default: its outputs. */
  readonly keeps?: number;
  /** Of routed experts: the share of tokens that reads it, on average. Default: 1, all. */
  readonly share?: number;
}

/** nn.Linear: weight [outputs, inputs]. */
export const linearSpec = (
  module: string,
  outputs: number,
  inputs: number,
  bias: boolean,
): ReadonlyArray<TensorSpec> => [
  { name: `${module}.weight`, shape: [outputs, inputs], kind: 'linear' },
  ...(bias ? [{ name: `${module}.bias`, shape: [outputs], kind: 'bias' } as const] : []),
];

/** Sizes of an attention layer. */
export interface HeadSizes {
  readonly hiddenSize: number;
  readonly numHeads: number;
  readonly numKvHeads: number;
  readonly headDim: number;
}

/** `q_proj`, `k_proj` and `v_proj` of a module. */
export const queryKeyValueSpec = (
  module: string,
  { hiddenSize, numHeads, numKvHeads, headDim }: HeadSizes,
  bias: boolean,
): ReadonlyArray<TensorSpec> => [
  ...linearSpec(`${module}.q_proj`, numHeads * headDim, hiddenSize, bias),
  ...linearSpec(`${module}.k_proj`, numKvHeads * headDim, hiddenSize, bias),
  ...linearSpec(`${module}.v_proj`, numKvHeads * headDim, hiddenSize, bias),
];

/** GPT-2's Conv1D: weight [inputs, outputs]. */
export const conv1dSpec = (module: string, inputs: number, outputs: number): ReadonlyArray<TensorSpec> => [
  { name: `${module}.weight`, shape: [inputs, outputs], kind: 'conv1d' },
  { name: `${module}.bias`, shape: [outputs], kind: 'bias' },
];

/** The table of an embedding, `[rows, width]`. */
export const embeddingSpec = (module: string, rows: number, width: number): TensorSpec => ({
  name: `${module}.weight`,
  shape: [rows, width],
  kind: 'embedding',
});

/** The weight of an RMS norm, `[width]`. */
export const rmsNormSpec = (module: string, width: number): TensorSpec => ({
  name: `${module}.weight`,
  shape: [width],
  kind: 'norm',
});

/** Weight and (by default) bias of a layer norm, `[width]` each. */
export const layerNormSpec = (module: string, width: number, bias = true): ReadonlyArray<TensorSpec> => [
  { name: `${module}.weight`, shape: [width], kind: 'norm' },
  ...(bias ? [{ name: `${module}.bias`, shape: [width], kind: 'norm' } as const] : []),
];

/** An output head of its own: nothing where the model ties it to the embedding. */
export const headSpec = (tied: boolean, vocabSize: number, width: number, bias = false): ReadonlyArray<TensorSpec> => [
  ...(tied ? [] : [{ name: 'lm_head.weight', shape: [vocabSize, width], kind: 'linear', head: true } as const]),
  ...(bias ? [{ name: 'lm_head.bias', shape: [vocabSize], kind: 'bias', head: true } as const] : []),
];

/** What every layer has, layer after layer. */
export const perLayer = (
  numLayers: number,
  specs: (index: number) => ReadonlyArray<TensorSpec>,
): ReadonlyArray<TensorSpec> => Array.from({ length: numLayers }, (_, i) => specs(i)).flat();
