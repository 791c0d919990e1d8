/**
 * The one place where a weight matrix multiplies: dense, Conv1D or quantised, with or without a LoRA adapter. `linear` chooses by
 * what tensors the weights hold for the module.
 */
import type { Tensor } from '@tensorflow/tfjs-core';
import { doraBackward, doraForward, keptTensors } from '../adapters/dora.js';
import { adapterNames } from '../adapters/adapterNames.js';
import { adapterOptions } from '../adapters/lora.js';
import { clone } from '../kernels/clone.js';
import { dropout } from '../kernels/dropout.js';
import { keep, keepWhatMakes } from '../kernels/hold.js';
import { int8Activations } from '../kernels/int8Activations.js';
import { columnSum, linear as multiply, linearGradInput, linearGradWeight } from '../kernels/linear.js';
import { loraLinear, loraLinearGrad } from '../kernels/loraLinear.js';
import type { FurtherAdapter, Pass } from '../pass.js';
import { dropoutSeed } from '../pass.js';
import { isGptq } from '../quantize/config.js';
import { moduleNames, weightOf } from '../weights.js';
import { adapterDropout } from './dropout.js';
import type { Layer, Wanted, Weights } from './layer.js';
import { compose, fanOut, inactive, landedOn, passed, total } from './layer.js';
import { scaled } from './scaled.js';

/** Which linear map it is, and how it lies. */
export interface Projection {
  /** Path of the module: its weight is `<module>.weight`, its bias, where the checkpoint has one, `<module>.bias`. */
  readonly module: string;
  /** The weight is stored [inputs, outputs] (GPT-2's Conv1D). */
  readonly transposed?: boolean | undefined;
  /** False: what comes out stays float32 on every engine, for the stream that branches are added to. Default: true. */
  readonly flows?: boolean | undefined;
}

/** x [N, I] ↦ x·Wᵀ + b [N, O], and what the adapters of the module add. */
export const linear = (pass: Pass, { module, transposed = false, flows = true }: Projection): Layer<Tensor, Tensor> => {
  const adapter = adapterNames(module);
  const base = { ...baseOf(pass, module, transposed), flows };
  const first: Layer<Tensor, Tensor> = (weights, x, wanted) => {
    if (pass.lora === undefined || weights[adapter.a] === undefined) return dense(base)(weights, x, wanted);
    return (weights[adapter.magnitude] === undefined ? adapted : withDora)(pass, base)(weights, x, wanted);
  };
  return (weights, x, wanted) => {
    pass.observe?.(module, x);
    if (pass.further === undefined) return first(weights, x, wanted);
    const further = furtherOf(pass, weights, (name) => adapterNames(module, name).a);
    const layer =
      further.length === 0 ? first : compose(fanOut(first, ...further.map((one) => change(pass, module, one))), total);
    return layer(weights, x, wanted);
  };
};

/** The adapters beside the first that have a tensor `nameOf` among the weights. */
export const furtherOf = (
  { further = [] }: Pass,
  weights: Weights,
  nameOf: (adapter: string) => string,
): ReadonlyArray<FurtherAdapter> => further.filter(({ name }) => nameOf(name) in weights);

/** What an adapter beside the first reads, [N, r] of x [N, I]: s·(drop(x)·Aᵀ). */
export const narrowed = (pass: Pass, module: string, { name, lora }: FurtherAdapter): Layer<Tensor, Tensor> => {
  const { a } = adapterNames(module, name);
  return (weights, x, wanted) => {
    const { scaling, rate } = adapterOptions(lora, module, weightOf(weights, a));
    return compose(adapterDropout(pass, a, rate), plain(`${module}.lora_A.${name}`), scaled(scaling))(
      weights,
      x,
      wanted,
    );
  };
};

/** s·(drop(x)·Aᵀ)·Bᵀ of an adapter beside the first. */
const change = (pass: Pass, module: string, one: FurtherAdapter): Layer<Tensor, Tensor> =>
  compose(narrowed(pass, module, one), plain(`${module}.lora_B.${one.name}`));

const plain = (module: string): Layer<Tensor, Tensor> => dense({ module, transposed: false, flows: true });

/** A module's weight as products meet it. */
interface Base {
  readonly module: string;
  readonly transposed: boolean;
  /**
   * What the weight multiplies in place of x: a new tensor, the caller's. The way back takes it for x (straight through). Absent: x.
   */
  readonly reads?: (x: Tensor) => Tensor;
}

/** A product with it, whose result flows or not. */
interface Product extends Base {
  readonly flows: boolean;
}

/** What the weights of the module multiply, and how they lie. */
export const baseOf = ({ quantized }: Pass, module: string, transposed: boolean): Base => {
  const scales = quantized?.scales[moduleNames(module).weight];
  // Quantised weights lie outputs first, those of Conv1D too.
  if (quantized === undefined || scales === undefined) return { module, transposed };
  if (scales.kind !== 'int8' || isGptq(quantized.config)) return { module, transposed: false };
  const threshold = quantized.config.llmInt8Threshold;
  const attrs = { threshold: threshold === 0 ? Infinity : threshold };
  return { module, transposed: false, reads: (x) => int8Activations(x, attrs) };
};

/** Gradients of weight and bias. Without x there is none of the weight. */
export const ownGradients = (
  module: string,
  transposed: boolean,
  wanted: (name: string) => boolean,
  weights: Weights,
  x: Tensor | undefined,
  dy: Tensor,
): Record<string, Tensor> => {
  const names = moduleNames(module);
  const gradients: Record<string, Tensor> = {};
  if (x !== undefined && wanted(names.weight)) gradients[names.weight] = linearGradWeight(x, dy, { transposed });
  if (weights[names.bias] !== undefined && wanted(names.bias)) gradients[names.bias] = columnSum(dy);
  return gradients;
};

const dense =
  ({ module, transposed, reads, flows }: Product): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const names = moduleNames(module);
    const w = weightOf(weights, names.weight);
    const bias = weights[names.bias];
    const read = reads?.(x);
    const y = multiply(read ?? x, w, bias, { transposed, flows });
    read?.dispose();
    const trainsWeight = wanted.weight(names.weight);
    const trainsBias = bias !== undefined && wanted.weight(names.bias);
    if (!wanted.input && !trainsWeight && !trainsBias) return inactive(y);
    const kept = trainsWeight ? keep(x) : undefined;
    return passed(y, kept === undefined ? [] : [kept], (dy, onto) => {
      const gradients = ownGradients(module, transposed, wanted.weight, weights, kept, dy);
      const dx = wanted.input ? linearGradInput(dy, w, onto, { transposed, flows: true }) : undefined;
      dy.dispose();
      onto?.dispose();
      return [gradients, dx];
    });
  };

/** Puts the gradient among those that are handed on, if it is wanted; else frees it. */
const handOn = (gradients: Record<string, Tensor>, name: string, gradient: Tensor, wanted: Wanted): void => {
  if (wanted.weight(name)) gradients[name] = gradient;
  else gradient.dispose();
};

/** The fused adapter path: y = x·Wᵀ + b + scaling·(drop(x)·Aᵀ)·Bᵀ. */
const adapted =
  (pass: Pass, { module, transposed, reads, flows }: Product): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const own = moduleNames(module);
    const names = adapterNames(module);
    const w = weightOf(weights, own.weight);
    const bias = weights[own.bias];
    const a = weightOf(weights, names.a);
    const b = weightOf(weights, names.b);
    const { scaling, rate } = adapterOptions(pass.lora, module, a);
    const { training } = pass;
    const drops = training !== undefined && rate > 0;
    // The mask is drawn again on the way back, so the dropped copy need not be kept.
    const drop = (value: Tensor): Tensor | undefined =>
      drops ? dropout(value, { rate, seed: dropoutSeed(training, names.a), offset: 0 }) : undefined;
    const rounded = reads?.(x);
    const dropped = drop(x);
    // The adapter reads x itself, never what an 8-bit product rounds.
    const xDropped = dropped ?? (rounded === undefined ? undefined : x);
    const { y, u } = loraLinear({ x: rounded ?? x, w, bias, a, b, xDropped }, { transposed, scaling, flows });
    rounded?.dispose();
    dropped?.dispose();
    const trains = (name: string): boolean => weights[name] !== undefined && wanted.weight(name);
    const trainsAdapter = trains(names.a) || trains(names.b);
    if (!wanted.input && !trainsAdapter && !trains(own.weight) && !trains(own.bias)) {
      u.dispose();
      return inactive(y);
    }
    const kept = keepWhatMakes(x);
    return passed(y, [kept, u], (dy, onto) => {
      const gradients = ownGradients(module, transposed, wanted.weight, weights, kept, dy);
      const droppedAgain = drop(kept);
      const { dA, dB, dx, dxDropped } = loraLinearGrad(
        { dy, x: droppedAgain ?? kept, w, a, b, u, accumulate: wanted.input ? onto : undefined },
        { transposed, scaling, needInput: wanted.input, dropped: drops, flows: true },
      );
      droppedAgain?.dispose();
      dy.dispose();
      onto?.dispose();
      handOn(gradients, names.a, dA, wanted);
      handOn(gradients, names.b, dB, wanted);
      if (dx === undefined) return [gradients, undefined];
      const viaAdapter = dxDropped && drop(dxDropped);
      dxDropped?.dispose();
      return [gradients, landedOn(dx, viaAdapter)];
    });
  };

/** The adapted path with magnitudes apart: see dora.ts. */
const withDora =
  (pass: Pass, { module, transposed, reads }: Base): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const names = adapterNames(module);
    const a = weightOf(weights, names.a);
    const own = {
      w: weightOf(weights, moduleNames(module).weight),
      bias: weights[moduleNames(module).bias],
      a,
      b: weightOf(weights, names.b),
      magnitude: weightOf(weights, names.magnitude),
    };
    const { scaling, rate } = adapterOptions(pass.lora, module, a);
    const { training } = pass;
    const drops = training !== undefined && rate > 0;
    const drop = (value: Tensor): Tensor =>
      drops ? dropout(value, { rate, seed: dropoutSeed(training, names.a), offset: 0 }) : clone(value);
    const xBase = reads?.(x) ?? clone(x);
    const xAdapter = drop(x);
    const { y, kept } = doraForward({ xBase, x, dropped: drops ? xAdapter : undefined }, own, { transposed, scaling });
    xBase.dispose();
    xAdapter.dispose();
    const trains = (name: string): boolean => name in weights && wanted.weight(name);
    const trainsAdapter = trains(names.a) || trains(names.b) || trains(names.magnitude);
    if (!wanted.input && !trainsAdapter && !trains(moduleNames(module).bias)) {
      for (const tensor of keptTensors(kept)) tensor.dispose();
      return inactive(y);
    }
    const input = keep(x);
    return passed(y, [input, ...keptTensors(kept)], (dy, onto) => {
      const xRead = drop(input);
      const back = doraBackward(dy, xRead, own, kept, { transposed, scaling, needInput: wanted.input, drops });
      xRead.dispose();
      const { dA, dB, dMagnitude } = back;
      // Of the weight no gradient is given: the lengths would have to follow it.
      const gradients = ownGradients(module, transposed, wanted.weight, weights, undefined, dy);
      handOn(gradients, names.a, dA, wanted);
      handOn(gradients, names.b, dB, wanted);
      handOn(gradients, names.magnitude, dMagnitude, wanted);
      dy.dispose();
      if (back.dx === undefined) return [gradients, undefined];
      const viaAdapter = back.dxDropped === undefined ? undefined : drop(back.dxDropped);
      back.dxDropped?.dispose();
      return [gradients, landedOn(landedOn(back.dx, viaAdapter), onto)];
    });
  };
