import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { lossAndGradients, logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { squaredNorm } from '../../src/model/kernels/squaredNorm.js';
import { sharedPath } from '../shared.js';
import { documents, unpadded } from './batches.js';
import { startUnderTest } from '../engine.js';
import { loadModel } from './loadModel.js';

const weights = sharedPath('data', 'weights', 'gpt-nano-sort');
const reference = sharedPath('data', 'reference', 'gpt_nano_sort_sft.json');
const whenThere = weights === undefined || reference === undefined ? describe.skip : describe;

interface Recorded {
  readonly shape: ReadonlyArray<number>;
  readonly data: string;
}

const floats = ({ data }: Recorded): Float32Array =>
  new Float32Array(Uint8Array.from(Buffer.from(data, 'base64')).buffer);

whenThere('gpt-nano-sort (skipped without the shared test data)', () => {
  let model: CausalLM;
  beforeAll(async () => {
    await startUnderTest('wasm');
    model = loadModel(`${weights ?? ''}/hf`);
  });
  afterAll(() => Object.values(model.weights).forEach((tensor) => tensor.dispose()));

  it('gives the recorded logits', () => {
    const partials = JSON.parse(readFileSync(`${weights ?? ''}/gpt-nano-sort-t0-partials.json`, 'utf8')) as Record<
      'idx' | 'lm_head',
      Recorded
    >;
    const ids = Array.from(floats(partials.idx));
    const rows = [0, 1, 2].map((r) => ids.slice(11 * r, 11 * r + 11));
    const values = logits(model, documents(...rows));
    const expected = floats(partials.lm_head);
    const off = values.dataSync().map((value, i) => Math.abs(value - (expected[i] ?? NaN)));
    expect(Math.max(...off)).toBeLessThan(1e-5);
    values.dispose();
  });

  it('takes the recorded first step', () => {
    interface Run {
      readonly name: string;
      readonly log: ReadonlyArray<{ readonly loss: number; readonly grad_norm: number }>;
    }
    const { batches, runs } = JSON.parse(readFileSync(reference ?? '', 'utf8')) as {
      readonly batches: ReadonlyArray<Parameters<typeof unpadded>[0]>;
      readonly runs: ReadonlyArray<Run>;
    };
    const [first] = batches;
    const run = runs.find(({ name }) => name === 'reverse-sort-full');
    if (first === undefined || run === undefined) throw new Error('the reference has no such run');
    const before = memory().numTensors;
    const { sequence, targets } = unpadded(first);
    const {
      gradients,
      auxLoss: _,
      ...losses
    } = lossAndGradients(model, sequence, targets, {
      seed: 1,
      step: 0,
      training: true,
      dropout: false,
    });
    const norm = squaredNorm(Object.values(gradients));
    expect(losses.total.dataSync()[0]).toBeCloseTo(run.log[0]?.loss ?? NaN, 4);
    expect(Math.sqrt(norm.dataSync()[0] ?? NaN) / (run.log[0]?.grad_norm ?? NaN)).toBeCloseTo(1, 4);
    const all: Tensor[] = [...Object.values(gradients), ...Object.values(losses), norm];
    all.forEach((tensor) => tensor.dispose());
    expect(memory().numTensors).toBe(before);
  });
});
