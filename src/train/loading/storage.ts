/** How the weights of a model lie while it trains. */
import { expectedTensors } from '../../model/architectures.js';
import type { CausalLM } from '../../model/model.js';
import { hold, release } from '../../model/kernels/hold.js';
import type { Precision } from '../engine.js';

/**
 * In place: what trains lies as float32 (the master weights); under bfloat16 the matrices that do not train lie as bfloat16, in
 * half of the memory. Vectors (biases, norms) weigh nothing and stay exact, as does what the model has as float32 always.
 */
export const layOut = ({ config, weights, trainable }: CausalLM, precision: Precision): void => {
  const trains = new Set(trainable);
  const exact = new Set(expectedTensors(config).flatMap((spec) => (spec.exact === true ? [spec.name] : [])));
  // Names may share data: what trains has the last word.
  if (precision === 'bfloat16')
    for (const [name, weight] of Object.entries(weights))
      if (!trains.has(name) && !exact.has(name) && weight.rank >= 2) hold(weight, 'bfloat16');
  for (const name of trains) {
    const weight = weights[name];
    if (weight !== undefined) release(weight);
  }
};
