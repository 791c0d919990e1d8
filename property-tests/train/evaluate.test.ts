/** Laws of evaluation: whatever it is told by, the parts make the whole. */
import { beforeAll, describe, expect, jest, test } from '@jest/globals';
import { argMax, cast, max, memory } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import { RxAttention, RxJoinedAttention } from '../../src/model/kernels/attention.js';
import { resizeTokenEmbeddings } from '../../src/model/resizeEmbeddings.js';
import type { Labelled } from '../../src/records.js';
import { chooseEngine } from '../../src/train/engine.js';
import { evaluateRows } from '../../src/train/evaluating/evaluate.js';
import type { PreprocessLogits, RowEvaluation } from '../../src/train/evaluating/evaluate.js';
import type { GroupEvaluation, Groups } from '../../src/train/evaluating/groupSums.js';
import { makeRowNames } from '../../src/train/preparing/rowNames.js';
import { disposeModel, tinyModel, tinyRow } from './tiny.js';

interface AnyOp {
  readonly run: (inputs: never, attrs: never) => unknown;
}

let model: CausalLM;
beforeAll(async () => {
  await orThrow(chooseEngine());
  model = await tinyModel();
});

const names = makeRowNames();
const roleNames = ['system', 'user', 'assistant'];
const fileNames = ['a.jsonl', 'b.jsonl'];
const roles = roleNames.map(names.roles.numberOf);
const files = fileNames.map(names.files.numberOf);

const told: fc.Arbitrary<Labelled> = fc
  .tuple(
    tinyRow(),
    fc.constantFrom(...files),
    fc.array(fc.constantFrom(0, ...roles), { minLength: 9, maxLength: 9 }),
    fc.option(fc.array(fc.constantFrom(0.5, 1, 2), { minLength: 9, maxLength: 9 }), { nil: undefined }),
  )
  .map(([row, file, own, weights]) => {
    const { length } = row.input_ids;
    return {
      inputIds: Int32Array.from(row.input_ids),
      labels: Int32Array.from(row.labels),
      seqLengths: [length],
      roles: Uint8Array.from(own.slice(0, length)),
      files: new Uint16Array(length).fill(file),
      lines: new Uint32Array(length).fill(length),
      ...(weights === undefined ? {} : { lossWeights: Float32Array.from(weights.slice(0, length)) }),
    };
  });
const rowsOf = fc.array(told, { minLength: 1, maxLength: 7 });
const plain = rowsOf.map((rows) => rows.map(({ lossWeights: _, ...row }) => row));

const close = (a: number, b: number): void => expect(Math.abs(a - b)).toBeLessThan(1e-4 * Math.max(1, Math.abs(b)));

const sum = (groups: Groups, value: (group: GroupEvaluation) => number): number =>
  Object.values(groups).reduce((all, group) => all + value(group), 0);

const settings = { numRuns: 15 };

describe('evaluation', () => {
  test('roles and files each share all trained tokens among them, and their means make the mean', async () => {
    await fc.assert(
      fc.asyncProperty(plain, async (rows) => {
        const all = await orThrow(evaluateRows(model, rows, { names }));
        for (const groups of [all.roles, all.sources]) {
          expect(sum(groups, ({ numTokens }) => numTokens)).toBe(all.numItems);
          close(sum(groups, ({ loss, numTokens }) => loss * numTokens) / all.numItems, all.tokenLoss);
          close(
            sum(groups, ({ meanTokenAccuracy, numTokens }) => meanTokenAccuracy * numTokens) / all.numItems,
            all.meanTokenAccuracy,
          );
        }
      }),
      settings,
    );
  });

  test('a file is told as its rows alone would be', async () => {
    await fc.assert(
      fc.asyncProperty(rowsOf, async (rows) => {
        const all = await orThrow(evaluateRows(model, rows, { names }));
        for (const [i, file] of files.entries()) {
          const own = rows.filter((row) => row.files?.[0] === file);
          const found = all.sources[fileNames[i] ?? ''];
          expect(found === undefined).toBe(own.length === 0);
          if (found === undefined) continue;
          const alone = await orThrow(evaluateRows(model, own));
          close(found.loss, alone.tokenLoss);
          close(found.perplexity, alone.perplexity);
          expect(found.numTokens).toBe(alone.numItems);
        }
      }),
      settings,
    );
  });

  test('the hardest rows are those of the highest loss, the worst first, and their tokens make their loss', async () => {
    await fc.assert(
      fc.asyncProperty(plain, fc.integer({ min: 1, max: 4 }), async (rows, hardest) => {
        const seen: Array<RowEvaluation> = [];
        const all = await orThrow(evaluateRows(model, rows, { names, hardest, onRow: (row) => seen.push(row) }));
        const worst = seen.map(({ loss }) => loss).toSorted((a, b) => b - a);
        expect(all.hardest.map(({ loss }) => loss)).toEqual(worst.slice(0, hardest));
        for (const { index, loss, numTokens, tokenLosses, file, line } of all.hardest) {
          const row = rows[index];
          const trained = tokenLosses.filter((value) => !Number.isNaN(value));
          expect(tokenLosses.length).toBe(row?.inputIds.length);
          expect(trained.length).toBe(numTokens);
          close(trained.reduce((a, b) => a + b, 0) / numTokens, loss);
          expect([file, line]).toEqual([names.files.nameOf(row?.files?.[0] ?? 0), row?.inputIds.length]);
        }
      }),
      settings,
    );
  });

  test('the size of batches changes nothing but the mean of batch means', async () => {
    await fc.assert(
      fc.asyncProperty(rowsOf, fc.integer({ min: 1, max: 9 }), async (rows, size) => {
        const [a, b] = [
          await orThrow(evaluateRows(model, rows, { names, size })),
          await orThrow(evaluateRows(model, rows, { names, size: 1 })),
        ];
        close(a.tokenLoss, b.tokenLoss);
        close(a.entropy, b.entropy);
        expect(a.numItems).toBe(b.numItems);
        for (const [role, { loss, numTokens }] of Object.entries(a.roles)) {
          close(loss, b.roles[role]?.loss ?? NaN);
          expect(numTokens).toBe(b.roles[role]?.numTokens);
        }
      }),
      settings,
    );
  });

  test('predictions have one row a trained token; the likeliest ids among them are those counted as right', async () => {
    await fc.assert(
      fc.asyncProperty(rowsOf, fc.integer({ min: 1, max: 4 }), async (rows, size) => {
        const before = memory().numTensors;
        const { predictions, numItems, meanTokenAccuracy } = await orThrow(
          evaluateRows(model, rows, {
            size,
            preprocessLogitsForMetrics: (logits) => {
              const ids = argMax(logits, -1);
              const values = cast(ids, 'float32');
              ids.dispose();
              return values;
            },
          }),
        );
        expect(memory().numTensors).toBe(before);
        expect([predictions?.values.length, predictions?.labels.length]).toEqual([numItems, numItems]);
        const right = predictions?.labels.filter((label, i) => predictions.values[i] === label).length ?? NaN;
        close(right, meanTokenAccuracy * numItems);
        // Each label is one of the row it is said to come from.
        predictions?.labels.forEach((label, i) => {
          expect(rows[predictions.rows[i] ?? -1]?.labels).toContain(label);
        });
      }),
      settings,
    );
  });

  test('predictions cost no second pass through the model', async () => {
    const ops: ReadonlyArray<AnyOp> = [RxAttention, RxJoinedAttention];
    const attention = ops.map((op) => jest.spyOn(op, 'run'));
    const passes = async (preprocessLogits?: PreprocessLogits): Promise<number> => {
      attention.forEach((spy) => spy.mockClear());
      const row = Int32Array.of(1, 2, 3, 4);
      await orThrow(
        evaluateRows(model, [{ inputIds: row, labels: row, seqLengths: [4] }], {
          preprocessLogitsForMetrics: preprocessLogits,
        }),
      );
      return attention.reduce((sum, { mock }) => sum + mock.calls.length, 0);
    };
    const alone = await passes();
    expect(alone).toBeGreaterThan(0);
    expect(await passes((logits) => argMax(logits, -1))).toBe(alone);
    jest.restoreAllMocks();
  });

  test('however large the vocabulary, metrics see few logits at a time, and every trained token once', async () => {
    const large = E.getOrElse<unknown, CausalLM>(() => model)(
      resizeTokenEmbeddings(await tinyModel(), { rows: 100_000, seed: 1 }),
    );
    const blocks: Array<number> = [];
    const row = Int32Array.from({ length: 100 }, (_, i) => i % 7);
    const { predictions } = await orThrow(
      evaluateRows(large, [{ inputIds: row, labels: row, seqLengths: [100] }], {
        preprocessLogitsForMetrics: (logits) => {
          blocks.push(logits.size);
          return max(logits, -1);
        },
      }),
    );
    expect(blocks.every((size) => size <= 2 ** 22)).toBe(true);
    expect(blocks.reduce((a, b) => a + b, 0)).toBe(99 * 100_000);
    expect(predictions?.values).toHaveLength(99);
    disposeModel(large);
  });
});
