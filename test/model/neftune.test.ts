import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, tensor2d } from '@tensorflow/tfjs-core';
import { evaluateLoss, lossAndGradients } from '../../src/model/causalLm.js';
import { nothing } from '../../src/model/layer.js';
import { neftune, neftuneMagnitude } from '../../src/model/neftune.js';
import { sharedPath } from '../shared.js';
import { documents, unpadded } from './batches.js';
import { startUnderTest } from '../engine.js';
import { loadModel, readTensors } from './loadModel.js';

beforeAll(async () => {
  await startUnderTest('wasm');
});

describe('noise', () => {
  it('is bounded by alpha / √(L·d), L the longest document', () => {
    expect(neftuneMagnitude(5, 128, 512)).toBe(0.01953125);
    const sequence = documents([1, 2, 3, 4], [1, 2]);
    const training = { seed: 1, step: 0, dropout: true, neftuneNoiseAlpha: 2 };
    const x = tensor2d(new Float32Array(6 * 9), [6, 9]);
    const { value } = neftune({ sequence, training })({}, x, nothing);
    const bound = 2 / Math.sqrt(4 * 9);
    const sizes = Array.from(value.dataSync(), Math.abs);
    expect(Math.max(...sizes)).toBeLessThanOrEqual(bound);
    expect(Math.max(...sizes)).toBeGreaterThan(0.85 * bound);
    const other = neftune({ sequence, training: { ...training, step: 1 } })({}, x, nothing);
    expect(other.value.dataSync()).not.toEqual(value.dataSync());
    dispose([x, value, other.value]);
  });
});

const weights = sharedPath('data', 'weights', 'stories260K', 'hf');
const reference = sharedPath('data', 'reference');
const whenThere = weights === undefined || reference === undefined ? describe.skip : describe;

whenThere('the recorded step (skipped without the shared test data)', () => {
  it('has the recorded loss with the noise that was given, and without', () => {
    const model = loadModel(weights ?? '');
    const { data, neftune: recorded } = JSON.parse(
      gunzipSync(readFileSync(`${reference ?? ''}/stories260K_sft.json.gz`)).toString(),
    ) as {
      readonly data: Readonly<
        Record<string, ReadonlyArray<{ input_ids: number[][]; labels: number[][]; lengths: number[] }>>
      >;
      readonly neftune: {
        readonly magnitude: number;
        readonly loss_with_noise: number;
        readonly loss_without_noise: number;
      };
    };
    const [whole] = data['lm-batches'] ?? [];
    if (whole === undefined) throw new Error('the reference has no batch');
    const batch = {
      input_ids: whole.input_ids.slice(0, 2),
      labels: whole.labels.slice(0, 2),
      lengths: whole.lengths.slice(0, 2),
    };
    const { sequence, targets } = unpadded(batch);
    const [unit] = Object.values(readTensors(`${reference ?? ''}/neftune-unit-noise.safetensors`));
    if (unit === undefined) throw new Error('the reference has no noise');
    const [, columns = 0, width = 0] = unit.shape;
    const all = unit.dataSync();
    // Rows of real tokens only, as the model reads them.
    const noise = batch.lengths.flatMap((length, row) =>
      Array.from(all.slice(row * columns * width, (row * columns + length) * width), (x) => x * recorded.magnitude),
    );
    const given = tensor2d(noise, [noise.length / width, width]);
    const { gradients, ...noisy } = lossAndGradients(model, sequence, targets, {
      seed: 1,
      step: 0,
      training: true,
      neftuneNoise: given,
    });
    const quiet = evaluateLoss(model, sequence, targets);
    expect(noisy.total.dataSync()[0]).toBeCloseTo(recorded.loss_with_noise, 4);
    expect(quiet.total.dataSync()[0]).toBeCloseTo(recorded.loss_without_noise, 4);
    dispose({ ...gradients, ...noisy, given, unit });
    dispose({ ...quiet });
    dispose({ ...model.weights });
  });
});
