import { beforeAll, describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { orThrow } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import type { Labelled } from '../../src/records.js';
import { contamination, joinedWindow } from '../../src/train/evaluating/contamination.js';
import { chooseEngine } from '../../src/train/engine.js';
import { evaluateRows } from '../../src/train/evaluating/evaluate.js';
import { packRows } from '../../src/operators/pack.js';
import { enginesUnderTest } from '../../test/engine.js';
import { engines, start } from '../../test/model/engines.js';
import { disposeModel, tinyModel, vocabSize } from './tiny.js';

const rows = (): fc.Arbitrary<ReadonlyArray<Labelled>> =>
  fc.array(
    fc
      .array(fc.tuple(fc.integer({ min: 0, max: vocabSize - 1 }), fc.boolean()), { minLength: 2, maxLength: 7 })
      .map((tokens) => ({
        inputIds: Int32Array.from(tokens, ([id]) => id),
        seqLengths: [tokens.length],
        // The second token of a row at least is trained.
        labels: Int32Array.from(tokens, ([id, trained], t) => (trained || t === 1 ? id : -100)),
      })),
    { minLength: 2, maxLength: 6 },
  );

describe.each(enginesUnderTest(...engines, 'cpu'))('on %s', (engine) => {
  const models = new Map<string, CausalLM>();
  beforeAll(async () => {
    await start(engine);
    for (const name of ['llama', 'gpt2', 'mistral']) models.set(name, await tinyModel(name));
  });

  test.each(['llama', 'gpt2', 'mistral'])(
    '%s: packed loss is unpacked loss, for the documents are apart',
    async (name) => {
      const model = models.get(name);
      if (model === undefined) throw new Error('no model');
      await fc.assert(
        fc.asyncProperty(rows(), async (values) => {
          const { separate, joined, numTokens } = await orThrow(contamination(model, values, { maxLength: 16 }));
          const apart = await orThrow(evaluateRows(model, values));
          expect(numTokens).toBe(apart.numItems);
          expect(Math.abs(separate - apart.tokenLoss)).toBeLessThan(2e-4);
          expect(Number.isFinite(joined)).toBe(true);
        }),
        { numRuns: 6 },
      );
    },
  );
});

test('joined windows ask for the same tokens, and a model sees more before them', async () => {
  await orThrow(chooseEngine());
  const model = await tinyModel();
  fc.assert(
    fc.property(rows(), (values) => {
      for (const window of packRows<Labelled>({ maxLength: 16 })(values)) {
        const { labels, seqLengths } = joinedWindow(window);
        expect(seqLengths).toEqual([window.inputIds.length]);
        let at = 0;
        for (const length of window.seqLengths) {
          expect(labels[at]).toBe(-100);
          expect([...labels.subarray(at + 1, at + length)]).toEqual([...window.labels.subarray(at + 1, at + length)]);
          at += length;
        }
      }
    }),
  );
  const two = [1, 2].map((id) => ({
    inputIds: Int32Array.of(id, 3, 4, 5),
    labels: Int32Array.of(id, 3, 4, 5),
    seqLengths: [4],
  }));
  const { difference, perplexityRatio, windows, documents } = await orThrow(
    contamination(model, two, { maxLength: 8 }),
  );
  expect([windows, documents]).toEqual([1, 2]);
  expect(Math.abs(difference)).toBeGreaterThan(1e-6);
  expect(perplexityRatio).toBeCloseTo(Math.exp(difference), 12);
  disposeModel(model);
});
