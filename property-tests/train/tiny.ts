/** A tiny model and rows for it, for laws about whole runs. */
import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import fc from 'fast-check';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import type { StepResult } from '../../src/records.js';
import { loadModel } from '../../src/train/loading/load.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { sftTrainer } from '../../src/train/trainer.js';
import type { SftRun } from '../../src/train/trainer.js';

const models = resolve(import.meta.dirname, '..', '..', 'test', 'golden', 'models');

export const tinyModel = async (name = 'llama'): Promise<CausalLM> =>
  (await orThrow(loadModel(resolve(models, name)))).model;

export const vocabSize = (
  JSON.parse(readFileSync(resolve(models, 'llama', 'config.json'), 'utf8')) as { readonly vocab_size: number }
).vocab_size;

/** A row as a dataset has it: token ids, and labels with some of them ignored. */
export interface TinyRow {
  readonly input_ids: ReadonlyArray<number>;
  readonly labels: ReadonlyArray<number>;
}

/** A row whose second token at least is trained. */
export const tinyRow = ({ longest = 9 }: { readonly longest?: number } = {}): fc.Arbitrary<TinyRow> =>
  fc
    .array(fc.tuple(fc.integer({ min: 0, max: vocabSize - 1 }), fc.boolean()), { minLength: 2, maxLength: longest })
    .map((tokens) => ({
      input_ids: tokens.map(([id]) => id),
      labels: tokens.map(([id, trained], t) => (trained || t === 1 ? id : -100)),
    }));

export const runOf = (model: CausalLM, rows: ReadonlyArray<unknown>, options: SftOptions): SftRun =>
  sftTrainer({ model, trainDataset: rows }, { learningRate: 0.01, ...options });

export const stepsOf = (run: SftRun): Promise<ReadonlyArray<StepResult>> => lastValueFrom(run.pipe(toArray()));

/** All numbers of a model's weights, by name. */
export const numbersOf = ({ weights }: CausalLM): Readonly<Record<string, ReadonlyArray<number>>> =>
  Object.fromEntries(Object.entries(weights).map(([name, tensor]) => [name, Array.from(tensor.dataSync())]));

/** Largest difference between two models' weights. */
export const distance = (a: CausalLM, b: CausalLM): number => {
  const other = numbersOf(b);
  return Math.max(
    ...Object.entries(numbersOf(a)).map(([name, values]) =>
      Math.max(...values.map((value, i) => Math.abs(value - (other[name]?.[i] ?? NaN)))),
    ),
  );
};

export const disposeModel = ({ weights }: CausalLM): void => {
  for (const tensor of Object.values(weights)) tensor.dispose();
};
