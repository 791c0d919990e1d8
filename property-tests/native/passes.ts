import { dispose } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { isLeft } from 'fp-ts/lib/Either.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { lossAndGradients } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import type { TrainOptions } from '../../src/model/causalLm.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { laidOut } from '../arbitraries/models.js';
import type { Documents } from '../arbitraries/models.js';

const bits = (tensor: Tensor): ReadonlyArray<number> => Array.from(new Int32Array(tensor.dataSync().slice().buffer));

/** Every number of a pass forward and back, as bits. */
export const pass = (model: CausalLM, rows: Documents, options: TrainOptions) => {
  const { sequence, targets } = laidOut(rows, 0.5);
  const { gradients, auxLoss: _, ...output } = lossAndGradients(model, sequence, targets, options);
  const all = Object.entries({ ...output, ...gradients }).map(([name, tensor]) => [name, bits(tensor)] as const);
  dispose([...Object.values(output), ...Object.values(gradients)]);
  return Object.fromEntries(all);
};

/** The model with an adapter on every linear map, with dropout. */
export const withAdapter = (model: CausalLM, seed: number): CausalLM => {
  const lora = LoraConfig.decode({ r: 3, loraDropout: 0.3, targetModules: 'all-linear', initLoraWeights: false });
  if (isLeft(lora)) throw lora.left;
  const adapted = attachLora(model, lora.right, { seed });
  if (isLeft(adapted)) throw adapted.left;
  return adapted.right;
};
