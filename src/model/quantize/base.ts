/** Models whose frozen linear weights are held in 8 or 4 bits. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { tensor2d } from '../../tfjs.js';
import { moduleOf } from '../adapters/moduleNames.js';
import { architectureOf } from '../architectures.js';
import { quantizedMatrix } from '../kernels/quantizedMatrix.js';
import type { CausalLM } from '../model.js';
import { turned } from '../turned.js';
import { weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { QuantizationConfig, quantizationOf } from './config.js';
import type { QuantizationOptions } from './config.js';
import { dequantizeMatrix, layoutOf, quantizeMatrix, scalesOf } from './matrix.js';
import type { QuantizedMatrix, QuantizedScales } from './matrix.js';

/** Whether a module is, or lies in, one of those named. */
const isUnder = (module: string, names: ReadonlyArray<string>): boolean =>
  names.some((name) => `.${module}.`.includes(`.${name}.`));

/** The weights that quantisation takes: every linear map's but the output head's, routers' and those of skipped modules. */
export const quantizableTensors = (
  tensors: ReadonlyArray<TensorSpec>,
  { llmInt8SkipModules = [] }: Pick<QuantizationConfig, 'llmInt8SkipModules'>,
): ReadonlyArray<TensorSpec> =>
  tensors.filter(
    ({ name, kind, head, router }) =>
      (kind === 'linear' || kind === 'conv1d') &&
      head !== true &&
      router !== true &&
      name.endsWith('.weight') &&
      !isUnder(moduleOf(name), llmInt8SkipModules),
  );

/** Shape [outputs, inputs] of a linear map's weight. */
export const outputsFirst = ({ kind, shape: [first = 0, second = 0] }: TensorSpec): readonly [number, number] =>
  kind === 'conv1d' ? [second, first] : [first, second];

/** Values of a checkpoint's tensor, outputs first. */
export const valuesOutputsFirst = (values: Float32Array, { kind, shape }: TensorSpec): Float32Array => {
  const [first = 0, second = 0] = shape;
  return kind === 'conv1d' ? turned(values, [first, second]) : values;
};

/** The quantised matrix in the engine, which keeps it as it lies if it can. */
export const placed = (matrix: QuantizedMatrix): Tensor => {
  const layout = layoutOf(matrix);
  return layout === undefined ? tensor2d(dequantizeMatrix(matrix), [...matrix.shape]) : quantizedMatrix(layout);
};

/**
 * The model with its linear weights (all but the head's and `llmInt8SkipModules`) in 8 or 4 bits; they no longer train. Consumes
 * the model given. `E_QUANTIZED` when it is quantised already, `E_OPTIONS` for options that are wrong, and 4 and 8 bits together.
 */
export const quantizeModel = (model: CausalLM, options: QuantizationOptions): E.Either<FatalError, CausalLM> =>
  E.Functor.map(
    E.Monad.chain(E.Monad.chain(QuantizationConfig.decode(options), quantizationOf), (config) =>
      model.quantized === undefined ? E.right(config) : E.left(usage('E_QUANTIZED', 'the model is quantised already')),
    ),
    (config) => {
      if (config === undefined) return model;
      const weights: Record<string, Tensor> = { ...model.weights };
      const scales: Record<string, QuantizedScales> = {};
      for (const spec of quantizableTensors(architectureOf(model.config).tensors, config)) {
        const weight = weightOf(weights, spec.name);
        const values = valuesOutputsFirst(weight.dataSync<'float32'>(), spec);
        const matrix = quantizeMatrix(config, values, outputsFirst(spec));
        weight.dispose();
        weights[spec.name] = placed(matrix);
        scales[spec.name] = scalesOf(matrix);
      }
      return {
        ...model,
        weights,
        trainable: model.trainable.filter((name) => !(name in scales)),
        quantized: { config, scales },
      };
    },
  );

/** The model with all weights as float32 in the checkpoint's layout: those that products read. Shares what was not quantised. */
export const dequantizedCopy = (model: CausalLM): CausalLM => {
  const { quantized, ...rest } = model;
  if (quantized === undefined) return model;
  const weights: Record<string, Tensor> = { ...model.weights };
  const trainable = new Set(model.trainable);
  for (const spec of architectureOf(model.config).tensors) {
    const { name, shape } = spec;
    if (!(name in quantized.scales)) continue;
    const [first = 0, second = 0] = shape;
    const weight = weightOf(weights, name);
    const values = weight.dataSync<'float32'>();
    weights[name] = tensor2d(spec.kind === 'conv1d' ? turned(values, [second, first]) : values.slice(), [
      first,
      second,
    ]);
    if (model.lora === undefined) trainable.add(name);
  }
  return { ...rest, weights, trainable: [...trainable] };
};

/**
 * A model with plain float32 weights in place of quantised ones, of the values that their codes stand for. Consumes the model
 * given.
 */
export const dequantizeModel = (model: CausalLM): CausalLM => {
  const plain = dequantizedCopy(model);
  for (const name of Object.keys(model.quantized?.scales ?? {})) weightOf(model.weights, name).dispose();
  return plain;
};

/**
 * The model with nothing trainable, ready for an adapter (PEFT's prepare_model_for_kbit_training): what is not quantised is
 * float32 here already, and gradient checkpointing is an option of training.
 */
export const prepareModelForKbitTraining = (model: CausalLM): CausalLM => ({ ...model, trainable: [] });
