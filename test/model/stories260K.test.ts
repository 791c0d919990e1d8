import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, memory } from '@tensorflow/tfjs-core';
import { evaluateLoss, lossAndGradients, logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { generate } from '../../src/model/generate.js';
import { squaredNorm } from '../../src/model/kernels/squaredNorm.js';
import { sharedPath } from '../shared.js';
import { documents, unpadded } from './batches.js';
import { startUnderTest } from '../engine.js';
import { loadModel } from './loadModel.js';

const weights = sharedPath('data', 'weights', 'stories260K', 'hf');
const reference = sharedPath('data', 'reference', 'stories260K_sft.json.gz');
const whenThere = weights === undefined || reference === undefined ? describe.skip : describe;

interface Reference {
  readonly data: Readonly<Record<string, ReadonlyArray<Parameters<typeof unpadded>[0]>>>;
  readonly runs: ReadonlyArray<{
    readonly name: string;
    readonly train: string;
    readonly eval: string;
    readonly eval_loss_before: number;
    readonly log: ReadonlyArray<{ readonly loss: number; readonly grad_norm: number }>;
  }>;
  readonly forward: ReadonlyArray<{
    readonly input_ids: ReadonlyArray<number>;
    readonly token_nll: ReadonlyArray<number>;
    readonly last_logits: ReadonlyArray<number>;
  }>;
  readonly greedy_from_bos: { readonly ids: ReadonlyArray<number> };
}

const largestGap = (values: ArrayLike<number>, expected: ReadonlyArray<number>): number =>
  Math.max(...expected.map((value, i) => Math.abs(value - (values[i] ?? NaN))));

whenThere('stories260K (skipped without the shared test data)', () => {
  let model: CausalLM;
  let recorded: Reference;
  beforeAll(async () => {
    await startUnderTest('wasm');
    model = loadModel(weights ?? '');
    recorded = JSON.parse(gunzipSync(readFileSync(reference ?? '')).toString()) as Reference;
  });
  afterAll(() => dispose(Object.values(model.weights)));

  it("gives every token's recorded loss and the last logits", () => {
    for (const { input_ids: ids, token_nll: expected, last_logits: last } of recorded.forward) {
      const { sequence, targets } = unpadded({ input_ids: [ids], labels: [ids] });
      const output = evaluateLoss(model, sequence, targets);
      const values = logits(model, documents(ids), Int32Array.of(ids.length - 1));
      expect(largestGap(output.loss.dataSync(), expected)).toBeLessThan(2e-4);
      expect(largestGap(values.dataSync(), last)).toBeLessThan(1e-4);
      dispose([output.total, output.loss, output.correct, output.entropy, values]);
    }
  });

  it.each(['full-finetune-lm', 'full-finetune-completion', 'full-finetune-packed'])(
    'takes the recorded first step of %s',
    (name) => {
      const run = recorded.runs.find((candidate) => candidate.name.startsWith(name));
      const [first] = recorded.data[run?.train ?? ''] ?? [];
      if (run === undefined || first === undefined)
        throw new Error(`the reference has no run ${name}: ${recorded.runs.map((r) => r.name).join()}`);
      const before = memory().numTensors;
      const { sequence, targets } = unpadded(first);
      const { gradients, ...losses } = lossAndGradients(model, sequence, targets, { seed: 1, step: 0, training: true });
      const norm = squaredNorm(Object.values(gradients));
      expect((losses.total.dataSync()[0] ?? NaN) / (run.log[0]?.loss ?? NaN)).toBeCloseTo(1, 5);
      expect(Math.sqrt(norm.dataSync()[0] ?? NaN) / (run.log[0]?.grad_norm ?? NaN)).toBeCloseTo(1, 4);
      dispose([...Object.values(gradients), ...Object.values(losses), norm]);
      expect(memory().numTensors).toBe(before);
    },
  );

  it('tells the documented story', async () => {
    const expected = recorded.greedy_from_bos.ids;
    const ids = [1];
    for await (const id of generate(model, Int32Array.of(1), { maxNewTokens: expected.length - 1 })) ids.push(id);
    expect(ids).toEqual(expected);
  });
});
