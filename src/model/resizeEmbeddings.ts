/** A model with more token rows, or fewer: embedding and head grow together. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { checked } from '../checked.js';
import type { FatalError } from '../errors.js';
import { usage } from '../errors.js';
import { withNumbersOf } from '../formats/json/writtenNumbers.js';
import { random } from '../seed.js';
import { tensor } from '../tfjs.js';
import { architectureOf } from './architectures.js';
import type { ModelConfig } from './config.js';
import { inText } from './imageText.js';
import type { CausalLM } from './model.js';

/**
 * Where new rows begin: `normal`, drawn from N(0, initializer_range²) as the model's own first rows were (transformers until
 * 4.45); `mean`, at the mean of the rows there are (Hewitt 2021; transformers since), so that no new token starts out likelier
 * than the others.
 */
export type NewTokenInit = 'normal' | 'mean';

/** How many token rows there are to be, and where new ones begin. */
export interface ResizeOptions {
  readonly rows: number;
  /** Default `normal`. */
  readonly init?: NewTokenInit | undefined;
  /** Of the draws. Default 42. */
  readonly seed?: number | undefined;
}

/** Standard deviation of a model's first weights, as its config.json has it. */
const initialDeviation = ({ raw }: ModelConfig): number => {
  const given = raw['initializer_range'] ?? raw['init_std'];
  return typeof given === 'number' && given >= 0 ? given : 0.02;
};

const meanRow = (values: Float32Array, rows: number, width: number): Float64Array => {
  const mean = new Float64Array(width);
  for (let i = 0; i < rows * width; i++) mean[i % width] = (mean[i % width] ?? 0) + (values[i] ?? 0) / rows;
  return mean;
};

/** The first rows of a table, then new ones. Row-major [rows, width]; a bias has width 1. */
const resizedRows = (
  values: Float32Array,
  { from, to, width }: { readonly from: number; readonly to: number; readonly width: number },
  fresh: (column: number, mean: number) => number,
): Float32Array => {
  const resized = new Float32Array(to * width);
  resized.set(values.subarray(0, Math.min(from, to) * width));
  const mean = to > from ? meanRow(values, from, width) : undefined;
  for (let i = from * width; i < to * width; i++) resized[i] = fresh(i % width, mean?.[i % width] ?? 0);
  return resized;
};

const resizedTensor = (old: Tensor, rows: number, fresh: (mean: number) => number): Tensor => {
  const [from = 0, width = 1] = old.shape;
  const values = resizedRows(Float32Array.from(old.dataSync()), { from, to: rows, width }, (_, mean) => fresh(mean));
  old.dispose();
  return tensor(values, [rows, ...old.shape.slice(1)], 'float32');
};

/** The configuration of the same model with another number of token rows. */
export const withVocabSize = (config: ModelConfig, vocabSize: number): ModelConfig => {
  const { tokenTables } = architectureOf(config);
  const fields = { vocab_size: vocabSize, ...(tokenTables === undefined ? {} : { [tokenTables.field]: vocabSize }) };
  return {
    ...(tokenTables?.resized(vocabSize) ?? config),
    vocabSize,
    raw: inText(config.raw, (text) => withNumbersOf(text, { ...text, ...fields })),
  };
};

/**
 * The model with `rows` token rows in embedding and head (and the head's bias, of which new entries are 0, or the mean). Rows that
 * both sizes have stay as they are; of a smaller size the last ones are lost. A tied head stays tied. Takes the weights over: use the
 * result, not the model given. `E_RESIZE` for a size that is none, `E_LORA_PRESENT` where an adapter sits on the model already.
 */
export const resizeTokenEmbeddings = checked(
  'resizeTokenEmbeddings',
  E.left,
  { 1: { rows: 'required', init: 'optional', seed: 'optional' } },
  (model: CausalLM, { rows, init = 'normal', seed = 42 }: ResizeOptions): E.Either<FatalError, CausalLM> => {
    const { config, weights, lora, adapters } = model;
    if (!Number.isSafeInteger(rows) || rows < 1)
      return E.left(
        usage('E_RESIZE', 'the embedding cannot have that many rows', {
          expected: 'a whole number ≥ 1',
          actual: String(rows),
        }),
      );
    if (rows === config.vocabSize) return E.right(model);
    const [tokenRows] = weights[`${architectureOf(config).embedding}.weight`]?.shape ?? [];
    if (tokenRows !== config.vocabSize)
      return E.left(
        usage('E_RESIZE', 'the embedding has rows of images behind those of the tokens', {
          expected: `${config.vocabSize} rows`,
          actual: `${rows} rows`,
          hint: 'leave its size as it is',
        }),
      );
    if (lora !== undefined || adapters !== undefined)
      return E.left(
        usage('E_LORA_PRESENT', 'the embedding of a model with an adapter keeps its size', {
          expected: `${config.vocabSize} rows`,
          actual: `${rows} rows`,
          hint: 'resize the base model first, then put the adapter on',
        }),
      );
    const deviation = initialDeviation(config);
    const { embedding, tokenTables } = architectureOf(config);
    const resized: Record<string, Tensor> = { ...weights };
    const tables = (tokenTables?.modules ?? []).map((module) => `${module}.weight`);
    [`${embedding}.weight`, 'lm_head.weight', 'lm_head.bias', ...tables].forEach((name, which) => {
      const old = weights[name];
      if (old === undefined) return;
      const { normal } = random(seed, 'init', which, 0x7265);
      const drawn = name.endsWith('bias') ? (): number => 0 : (): number => deviation * normal();
      resized[name] = resizedTensor(old, rows, init === 'mean' ? (mean) => mean : drawn);
    });
    return E.right({
      ...model,
      config: withVocabSize(config, rows),
      weights: resized,
      resizedFrom: model.resizedFrom ?? config.vocabSize,
    });
  },
);
