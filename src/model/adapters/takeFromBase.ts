/** Adapters that begin with a part of the weights, which the weights then lack: PiSSA and OLoRA. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { mul, sub, tensor2d, tidy } from '../../tfjs.js';
import type { Weights } from '../layers/layer.js';
import type { CausalLM } from '../model.js';
import { turned } from '../turned.js';
import { initFault, rankFault, takenHalves, takesFromBase } from './initLora.js';
import { namesOf } from './adapterNames.js';
import { scalingOf } from './lora.js';
import type { LoraConfig } from './lora.js';
import type { Target } from './targets.js';
import { loraDelta } from './loraDelta.js';
import { adaptedWeight, liesTransposed } from './places.js';
import type { Matrix } from './singularVectors.js';

/** The weight without the part s·B·A that its adapter begins with: a new tensor. */
const lacking = (
  w: Tensor,
  { a, b }: { readonly a: Tensor; readonly b: Tensor },
  transposed: boolean,
  scaling: number,
): Tensor => tidy(() => sub(w, mul(loraDelta(a, b, transposed), scaling)));

/** The weight as [outputs, inputs]. */
const matrixOf = (w: Tensor, transposed: boolean): Matrix => {
  const [first = 0, second = 0] = w.shape;
  const values = w.dataSync<'float32'>();
  if (!transposed) return { values, rows: first, columns: second };
  return { values: turned(values, [first, second]), rows: second, columns: first };
};

/** What a rewriting way to begin takes of the weights, and the weights that lack it. */
interface Taking {
  readonly taken: Weights;
  readonly left: Weights;
}

/** `E_LORA_INIT` where weights are quantised. */
export const takeFromBase = (
  model: CausalLM,
  config: LoraConfig,
  targets: ReadonlyArray<Target>,
  seed: number,
): E.Either<FatalError, Taking> => {
  const init = config.initLoraWeights;
  const fault = initFault(init);
  if (fault !== undefined) return E.left(fault);
  const maps = targets.filter(({ isEmbedding }) => !isEmbedding);
  for (const target of maps) {
    const wrong = rankFault(init, target);
    if (E.isLeft(wrong)) return wrong;
  }
  if (typeof init !== 'string' || !takesFromBase(init)) return E.right({ taken: {}, left: {} });
  const held = maps.find(({ module }) => model.quantized?.scales[`${module}.weight`] !== undefined);
  if (held !== undefined)
    return E.left(
      usage('E_LORA_INIT', `initLoraWeights "${init}" takes a part of the weights, and "${held.module}" is quantised`, {
        hint: 'load the model unquantised, or begin with initLoraWeights true',
      }),
    );
  const taken: Record<string, Tensor> = {};
  const left: Record<string, Tensor> = {};
  for (const target of maps) {
    const { module, rank, inputs, outputs } = target;
    const names = namesOf(target);
    const transposed = liesTransposed(model, target);
    const w = adaptedWeight(model, module);
    const scaling = scalingOf(config, module, rank);
    const { a, b } = takenHalves(init, matrixOf(w, transposed), { rank, scaling, seed, module });
    const halves = { a: tensor2d(a, [rank, inputs]), b: tensor2d(b, [outputs, rank]) };
    taken[names.a] = halves.a;
    taken[names.b] = halves.b;
    left[`${module}.weight`] = lacking(w, halves, transposed, scaling);
  }
  return E.right({ taken, left });
};
