/** The output head, and the adapter it may carry. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { architectureOf } from './architectures.js';
import { joinColumns } from './columns.js';
import { dropout } from './dropout.js';
import { scaled } from './embedding.js';
import { concatColumns, splitColumns } from './kernels/columns.js';
import { compose, fanOut, identity } from './layer.js';
import type { Gradients, Layer } from './layer.js';
import { linear } from './linear.js';
import { adapterNames, adapterOptions } from './lora.js';
import type { CausalLM } from './model.js';
import type { Pass } from './pass.js';
import { weightOf } from './weights.js';

export interface Head {
  /** What the matrix below multiplies, from the tail's value. */
  readonly input: Layer<Tensor, Tensor>;
  /** [V, C] */
  readonly w: Tensor;
  /** [V] */
  readonly bias: Tensor | undefined;
  readonly weightName: string;
  /** Whether the gradient of `w` is wanted. */
  readonly trains: boolean;
  readonly trainsBias: boolean;
  /** Gradients by name from those of w and bias; consumes them. */
  readonly gradients: (dW: Tensor | undefined, dBias: Tensor | undefined) => Gradients;
  /** Frees what was made for the pass. */
  readonly dispose: () => void;
}

const biasName = 'lm_head.bias';

/** An own `lm_head.weight` where there is one, else the embedding table. */
export const headOf = (model: CausalLM, pass: Pass): Head => {
  const { weights, config, trainable } = model;
  const weightName = 'lm_head.weight' in weights ? 'lm_head.weight' : `${architectureOf(config).embedding}.weight`;
  const trains = (name: string): boolean => trainable.includes(name);
  const bias = weights[biasName];
  const trainsBias = bias !== undefined && trains(biasName);
  const given = (entries: Readonly<Record<string, Tensor | undefined>>): Gradients => {
    const gradients: Record<string, Tensor> = {};
    for (const [name, gradient] of Object.entries(entries)) {
      if (gradient === undefined) continue;
      if (trains(name)) gradients[name] = gradient;
      else gradient.dispose();
    }
    return gradients;
  };
  const names = adapterNames('lm_head');
  const a = weights[names.a];
  if (pass.lora === undefined || a === undefined) {
    return {
      input: identity,
      w: weightOf(weights, weightName),
      bias,
      weightName,
      trains: trains(weightName),
      trainsBias,
      gradients: (dW, dBias) => given({ [weightName]: dW, [biasName]: dBias }),
      dispose: () => undefined,
    };
  }
  // h·Wᵀ + s·(h·Aᵀ)·Bᵀ is one product, of [h, s·h·Aᵀ] with [W, B].
  const { scaling, rate } = adapterOptions(pass.lora, 'lm_head', a);
  const [rank = 0, width = 0] = a.shape;
  const w = concatColumns([weightOf(weights, weightName), weightOf(weights, names.b)]);
  const dropped: Pass = pass.training === undefined ? pass : { ...pass, training: { ...pass.training, dropout: true } };
  return {
    input: compose(
      fanOut(
        identity,
        compose(dropout(dropped, names.a, rate), linear(pass, { module: 'lm_head.lora_A' }), scaled(scaling)),
      ),
      joinColumns,
    ),
    w,
    bias,
    weightName,
    trains: trains(weightName) || trains(names.b),
    trainsBias,
    gradients: (dJoined, dBias) => {
      const [dW, dB] = dJoined === undefined ? [] : splitColumns(dJoined, [width, rank]);
      dJoined?.dispose();
      return given({ [weightName]: dW, [names.b]: dB, [biasName]: dBias });
    },
    dispose: () => w.dispose(),
  };
};
