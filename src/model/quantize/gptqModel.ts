/** GPTQ of a whole model: layer after layer, each calibrated on what the quantised layers before it give. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { tensor2d } from '../../tfjs.js';
import { moduleOf } from '../adapters/moduleNames.js';
import { architectureOf } from '../architectures.js';
import { logitsOf } from '../causalLm.js';
import { release } from '../kernels/hold.js';
import { linearGradWeight } from '../kernels/linear.js';
import type { CausalLM } from '../model.js';
import type { Sequence } from '../sequence.js';
import { turned } from '../turned.js';
import { weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { outputsFirst, quantizableTensors, valuesOutputsFirst } from './base.js';
import { gptq, gptqValues, outputError, roundToNearest } from './gptq.js';
import type { GptqMatrix, GptqOptions } from './gptq.js';
import { fitsGptq } from './gptqFiles.js';

/** What quantising one module came to. */
export interface GptqLayer {
  /** Path of the module. */
  readonly module: string;
  /** Squared change of its outputs over the calibration rows, and what rounding to nearest would have made of them. */
  readonly error: number;
  readonly nearestError: number;
}

/** A model rounded by GPTQ, and the codes to be saved. */
export interface GptqModel {
  /** Computes with the values that the codes stand for. */
  readonly model: CausalLM;
  readonly matrices: ReadonlyMap<string, GptqMatrix>;
  readonly layers: ReadonlyArray<GptqLayer>;
  /** How it was rounded. */
  readonly options: GptqOptions;
}

/** Σ x·xᵀ of each module's inputs over the calibration sequences, by module. */
const hessians = (
  model: CausalLM,
  sequences: ReadonlyArray<Sequence>,
  modules: ReadonlySet<string>,
): ReadonlyMap<string, Float64Array> => {
  const sums = new Map<string, Float64Array>();
  const observe = (module: string, x: Tensor): void => {
    if (!modules.has(module)) return;
    const product = linearGradWeight(x, x, { transposed: false });
    const values = product.dataSync<'float32'>();
    const sum = sums.get(module) ?? new Float64Array(values.length);
    values.forEach((value, i) => {
      sum[i] = (sum[i] ?? 0) + value;
    });
    sums.set(module, sum);
    product.dispose();
  };
  for (const sequence of sequences) {
    const last = Int32Array.of(sequence.inputIds.length - 1);
    logitsOf(model, { sequence, observe }, last).dispose();
  }
  return sums;
};

const layerOf = ({ name }: TensorSpec): string => /\.(\d+)\./.exec(name)?.[1] ?? '';

/**
 * The model with its linear weights (all but the head's, and those whose sides fill no whole words) rounded by GPTQ. Consumes the
 * model given. `done` hears of every module when it is quantised.
 */
export const gptqModel = (
  model: CausalLM,
  sequences: ReadonlyArray<Sequence>,
  options: GptqOptions,
  done: (layer: GptqLayer) => void = () => undefined,
): GptqModel => {
  const specs = quantizableTensors(architectureOf(model.config).tensors, {}).filter((spec) =>
    fitsGptq(outputsFirst(spec), options.bits),
  );
  const weights: Record<string, Tensor> = { ...model.weights };
  const current: CausalLM = { ...model, weights };
  const matrices = new Map<string, GptqMatrix>();
  const layers: GptqLayer[] = [];
  for (const layer of new Set(specs.map(layerOf))) {
    const own = specs.filter((spec) => layerOf(spec) === layer);
    const sums = hessians(current, sequences, new Set(own.map(({ name }) => moduleOf(name))));
    for (const spec of own) {
      const module = moduleOf(spec.name);
      const hessian = sums.get(module);
      const weight = weightOf(weights, spec.name);
      release(weight);
      const shape = outputsFirst(spec);
      const before = valuesOutputsFirst(weight.dataSync<'float32'>(), spec).slice();
      const nearest = roundToNearest(before, shape, options);
      // An expert to which no token of the calibration goes.
      const matrix = hessian === undefined ? nearest : gptq(before, shape, hessian, options);
      const after = gptqValues(matrix);
      const stored = spec.kind === 'conv1d' ? turned(after, shape) : after;
      const [first = 0, second = 0] = spec.shape;
      weights[spec.name] = tensor2d(stored, [first, second]);
      weight.dispose();
      matrices.set(module, matrix);
      const told = {
        module,
        error: hessian === undefined ? 0 : outputError(before, after, shape, hessian),
        nearestError: hessian === undefined ? 0 : outputError(before, gptqValues(nearest), shape, hessian),
      };
      layers.push(told);
      done(told);
    }
  }
  return { model: current, matrices, layers, options };
};
