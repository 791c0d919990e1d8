import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { add, dispose, tensor2d } from '@tensorflow/tfjs-core';
import type { Tensor2D } from '@tensorflow/tfjs-core';
import { configs, laidOut, modelOf } from '../../property-tests/arbitraries/models.js';
import { architectureOf } from '../../src/model/architectures.js';
import { evaluateLoss, lossAndGradients } from '../../src/model/causalLm.js';
import { nothing } from '../../src/model/layers/layer.js';
import type { Weights } from '../../src/model/layers/layer.js';
import { neftune, neftuneMagnitude } from '../../src/model/layers/neftune.js';
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

// A norm is a part of Muse Glimmer's embedding: what is added behind it is no shift of the table.
const shifting = Object.entries(configs).filter(([name]) => name !== 'muse_glimmer');

describe.each(shifting)('noise of %s', (_, raw) => {
  it('is added to rows of the embedding, before anything else is done to them', () => {
    // A head of its own, that the table may move without it.
    const model = modelOf({ ...raw, tie_word_embeddings: false }, 3);
    const { sequence, targets } = laidOut(
      {
        ids: [
          [3, 1, 4, 1],
          [5, 9],
        ],
        supervised: [
          [true, true, true, true],
          [true, true],
        ],
      },
      1,
    );
    const table = `${architectureOf(model.config).embedding}.weight`;
    const given = model.weights[table] as Tensor2D;
    const [, width] = given.shape;
    // Gemma's factor is a part of its embedding.
    const { embeddingScale = 1 } = model.config as { readonly embeddingScale?: number };
    const moved = (rows: number, factor: number): Tensor2D =>
      tensor2d(
        Float32Array.from({ length: rows * width }, (__, i) => (factor * ((i % width) + 1)) / width),
        [rows, width],
      );
    const noise = moved(6, 1);
    const shift = moved(given.shape[0], 1 / embeddingScale);
    const totalOf = (weights: Weights, neftuneNoise?: Tensor2D): number => {
      const options = { seed: 1, step: 0, training: true, dropout: false, ...(neftuneNoise && { neftuneNoise }) };
      const { gradients, ...output } = lossAndGradients(
        { ...model, weights, trainable: [table] },
        sequence,
        targets,
        options,
      );
      const [total = NaN] = output.total.dataSync();
      dispose([...Object.values(gradients), ...Object.values(output)]);
      return total;
    };
    const shifted = add(given, shift);
    const noisy = totalOf(model.weights, noise);
    expect(noisy).toBeCloseTo(totalOf({ ...model.weights, [table]: shifted }), 3);
    expect(Math.abs(noisy - totalOf(model.weights))).toBeGreaterThan(5e-3);
    dispose([noise, shift, shifted, ...Object.values(model.weights)]);
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
