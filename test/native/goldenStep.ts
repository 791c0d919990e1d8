/** Loss and gradients of the golden models at either precision, and how far they are apart. */
import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { dispose, randomNormal } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { lossAndGradients } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import type { Precision } from '../../src/native/backend.js';
import { setPrecision } from '../../src/native/register.js';
import { unpadded } from '../model/batches.js';
import { loadModel, orThrow } from '../model/loadModel.js';

const root = resolve(import.meta.dirname, '..', '..');

export interface Step {
  readonly loss: number;
  readonly gradients: Readonly<Record<string, ArrayLike<number>>>;
}

/** A model of the golden ones, alone or under an adapter whose products are not zero. */
const modelOf = (name: string, adapted: boolean): CausalLM => {
  const model = loadModel(join(root, 'test', 'golden', 'models', name));
  if (!adapted) return model;
  const config = orThrow(LoraConfig.decode({ r: 8, loraAlpha: 16, loraDropout: 0.1, targetModules: 'all-linear' }));
  const attached = orThrow(attachLora(model, config, { seed: 3 }));
  const moved = Object.entries(attached.weights).map(([key, value], seed): [string, Tensor] => {
    if (!key.includes('lora_B')) return [key, value];
    value.dispose();
    return [key, randomNormal(value.shape, 0, 0.05, 'float32', seed)];
  });
  return { ...attached, weights: Object.fromEntries(moved) };
};

export type Case = readonly [name: string, adapted: boolean, checkpointing: boolean];

/** Loss and gradients on the device that is chosen. */
export const stepAt = (precision: Precision, [name, adapted, checkpointing]: Case): Step => {
  const folder = join(root, 'test', 'golden', 'models', name);
  const { documents } = JSON.parse(readFileSync(join(folder, 'golden.json'), 'utf8')) as {
    readonly documents: ReadonlyArray<{
      readonly input_ids: ReadonlyArray<number>;
      readonly labels: ReadonlyArray<number>;
    }>;
  };
  const { sequence, targets } = unpadded({
    input_ids: documents.map(({ input_ids }) => input_ids),
    labels: documents.map(({ labels }) => labels),
  });
  const model = modelOf(name, adapted);
  setPrecision(precision);
  try {
    const options = { seed: 1, step: 0, training: true, gradientCheckpointing: checkpointing } as const;
    const { gradients, ...losses } = lossAndGradients(model, sequence, targets, options);
    const step = {
      loss: losses.total.dataSync()[0] ?? NaN,
      gradients: Object.fromEntries(Object.entries(gradients).map(([key, value]) => [key, value.dataSync()])),
    };
    dispose([...Object.values(gradients), ...Object.values(losses)]);
    return step;
  } finally {
    setPrecision('float32');
    dispose(Object.values(model.weights));
  }
};

/** ‖got - wanted‖ / ‖wanted‖ over all of them. */
export const apartBy = (got: Step['gradients'], wanted: Step['gradients']): number => {
  const pairs = Object.entries(wanted).flatMap(([key, values]) =>
    Array.from(values, (value, i): readonly [number, number] => [got[key]?.[i] ?? NaN, value]),
  );
  return Math.hypot(...pairs.map(([a, b]) => a - b)) / Math.hypot(...pairs.map(([, b]) => b));
};

export const halvedCases: ReadonlyArray<Case> = [
  ['llama', false, false],
  ['llama', true, false],
  ['llama', true, true],
  ['gpt2', false, false],
  ['gpt2', true, false],
  ['opt_350m', false, false],
  ['phi', false, false],
  ['phi3', true, false],
  ['olmo', true, true],
  ['gpt_neox', true, false],
  ['falcon_groups', false, false],
  ['cohere', false, true],
  ['gptj', true, false],
  ['stablelm_parallel', false, false],
  ['gpt_oss', false, false],
  ['youtu', true, true],
  ['mamba', true, false],
];
