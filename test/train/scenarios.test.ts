/** What people come with: each kind of data and of training, run whole on the quick start's model, and what is left of it. */
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom, toArray } from 'rxjs';
import { orThrow } from '../../src/errors.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import type { FormattingFunc } from '../../src/operators/decode.js';
import type { StepResult } from '../../src/records.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { load, loadModel } from '../../src/train/loading/load.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';
import type { Begun, Evaluation, SftSetup } from '../../src/train/run/run.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { numbersOf } from '../../property-tests/train/tiny.js';
import { startUnderTest } from '../engine.js';
import { orThrow as made } from '../model/loadModel.js';
import { plainBase } from '../plainBase.js';

const shop = resolve(import.meta.dirname, '..', '..', 'examples', 'quickstart');
const base = join(shop, 'base');
const root = mkdtempSync(join(tmpdir(), 'rxtune-scenarios-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));
let tokenizer: Tokenizer;
beforeAll(async () => {
  await startUnderTest();
  tokenizer = (await orThrow(load(base))).tokenizer;
});

/** Letters to the shop and their answers. */
const pairs = readFileSync(join(shop, 'train.jsonl'), 'utf8')
  .split('\n')
  .slice(0, 12)
  .map((line) => {
    const { messages } = JSON.parse(line) as { messages: ReadonlyArray<{ role: string; content: string }> };
    return { question: messages[0]?.content ?? '', answer: messages[1]?.content ?? '' };
  });
const chats = pairs.map(({ question, answer }) => ({
  messages: [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ],
}));
const shown = (question: string, answer: string): string => `### Question: ${question}\n ### Answer: ${answer}`;
const texts = pairs.map(({ question, answer }) => ({ text: shown(question, answer) }));

const options = {
  maxLength: 192,
  perDeviceTrainBatchSize: 6,
  maxSteps: 6,
  learningRate: 3e-3,
  lrSchedulerType: 'constant',
} as const satisfies SftOptions;

interface Outcome {
  readonly steps: ReadonlyArray<StepResult>;
  readonly losses: ReadonlyArray<number>;
  readonly begun: Begun;
  readonly evaluations: ReadonlyArray<Evaluation>;
  readonly warnings: ReadonlyArray<string>;
  readonly dir: string;
  readonly files: ReadonlyArray<string>;
}

let outputs = 0;
const trained = async (setup: Partial<SftSetup>, more: SftOptions = {}): Promise<Outcome> => {
  const dir = join(root, String(outputs++));
  const run = sftTrainer({ model: base, trainDataset: chats, ...setup }, { ...options, outputDir: dir, ...more });
  const begun: Begun[] = [];
  const evaluations: Evaluation[] = [];
  const warnings: string[] = [];
  run.begun.subscribe((one) => begun.push(one));
  run.evaluations.subscribe((one) => evaluations.push(one));
  run.warnings.subscribe(({ code }) => warnings.push(code));
  const steps = await lastValueFrom(run.pipe(toArray()));
  const [first] = begun;
  if (first === undefined) throw new Error('the run did not begin');
  const losses = steps.map(({ loss }) => loss);
  return { steps, losses, begun: first, evaluations, warnings, dir, files: readdirSync(dir).sort() };
};

const learned = ({ losses }: Outcome, share = 0.9): void => {
  expect(losses).toHaveLength(options.maxSteps);
  expect(losses.every(Number.isFinite)).toBe(true);
  expect(losses[losses.length - 1]).toBeLessThan(share * (losses[0] ?? 0));
};

/** The stretches of each row that are trained, as text. */
const trainedTexts = async (
  rows: ReadonlyArray<unknown>,
  more: SftOptions,
  formattingFunc?: FormattingFunc,
): Promise<ReadonlyArray<string>> => {
  const config = made(decodeSftConfig({ ...options, ...more }));
  const setup = { tokenizer, ...(formattingFunc === undefined ? {} : { formattingFunc }) };
  const prepared = await orThrow(prepareRows(rows, setup, { ...config, maxLength: options.maxLength }));
  return prepared.rows.map(({ inputIds, labels }) => tokenizer.decode(inputIds.filter((_, t) => labels[t] !== -100)));
};

const modelFiles = ['config.json', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];
const adapterFiles = ['adapter_config.json', 'adapter_model.safetensors', 'tokenizer.json'];

describe('data', () => {
  test('a text field: every token is trained, its end too', async () => {
    const rows = texts.map(({ text }) => ({ body: text, text: 'not this' }));
    const outcome = await trained({ trainDataset: rows }, { datasetTextField: 'body' });
    learned(outcome);
    expect(outcome.files).toEqual(expect.arrayContaining(modelFiles));
    const found = await trainedTexts(rows, { datasetTextField: 'body' });
    expect(found).toEqual(rows.map(({ body }) => `${body}<|im_end|>`));
    const { model } = await orThrow(loadModel(outcome.dir));
    expect(numbersOf(model)).not.toEqual(numbersOf((await orThrow(loadModel(base))).model));
  });

  test('prompt and completion: the completion alone is trained', async () => {
    const rows = pairs.map(({ question, answer }) => ({ prompt: `${question}\n`, completion: answer }));
    learned(await trained({ trainDataset: rows }));
    expect(await trainedTexts(rows, {})).toEqual(pairs.map(({ answer }) => `${answer}<|im_end|>`));
  });

  test('messages: all of it, or what the assistant says', async () => {
    learned(await trained({ trainDataset: chats }));
    const whole = await trainedTexts(chats, {});
    expect(whole[0]).toBe(
      `<|im_start|>user\n${pairs[0]?.question}<|im_end|>\n<|im_start|>assistant\n${pairs[0]?.answer}<|im_end|>\n`,
    );
    learned(await trained({ trainDataset: chats }, { assistantOnlyLoss: true }));
    const answers = await trainedTexts(chats, { assistantOnlyLoss: true });
    answers.forEach((text, i) => expect(text.trim()).toBe(`${pairs[i]?.answer}<|im_end|>`));
  });

  const formattingFunc: FormattingFunc = ({ messages }) =>
    shown(...((messages as ReadonlyArray<{ content: string }>).map(({ content }) => content) as [string, string]));

  test('a formatting function', async () => {
    learned(await trained({ trainDataset: chats, formattingFunc }));
    const found = await trainedTexts(chats, {}, formattingFunc);
    expect(found).toEqual(texts.map(({ text }) => `${text}<|im_end|>`));
  });

  test('columns of other names, made prompt and completion by a function', async () => {
    const rows = pairs.map(({ question: frage, answer: antwort }) => ({ frage, antwort }));
    const found = await trainedTexts(rows, {}, ({ frage, antwort }) => ({
      prompt: `${String(frage)}\n`,
      completion: antwort,
    }));
    expect(found).toEqual(pairs.map(({ answer }) => `${answer}<|im_end|>`));
  });

  test('completion-only, the template as text', async () => {
    const more = { responseTemplate: ' ### Answer:' };
    learned(await trained({ trainDataset: texts }, more));
    const found = await trainedTexts(texts, more);
    expect(found).toEqual(pairs.map(({ answer }) => ` ${answer}<|im_end|>`));
  });

  test('completion-only, the template as token ids', async () => {
    const ids = [...tokenizer.encode('\n ### Answer:', { addSpecialTokens: false })].slice(1);
    learned(await trained({ trainDataset: texts }, { responseTemplate: ids }));
    const found = await trainedTexts(texts, { responseTemplate: ids });
    found.forEach((text, i) => expect(`${pairs[i]?.answer}<|im_end|>`).toBe(text.trimStart()));
  });

  test('completion-only with an instruction template: every answer of a conversation', async () => {
    const rows = pairs.slice(1).map(({ question, answer }, i) => ({
      text: `${shown(pairs[i]?.question ?? '', pairs[i]?.answer ?? '')}\n${shown(question, answer)}`,
    }));
    const more = { responseTemplate: ' ### Answer:', instructionTemplate: '### Question:', maxLength: 256 };
    learned(await trained({ trainDataset: rows }, more));
    const found = await trainedTexts(rows, more);
    const [first, second] = pairs;
    expect(found[0]?.startsWith(` ${first?.answer}\n`)).toBe(true);
    expect(found[0]).not.toContain('Question');
    expect(found[0]).not.toContain(second?.question);
  });

  test('packing: fewer, fuller rows and no token more', async () => {
    const outcome = await trained({ trainDataset: texts }, { packing: true });
    learned(outcome);
    const { rows, tokens, packingEfficiency = 0 } = outcome.begun.trainSummary;
    expect(rows).toBeLessThan(texts.length);
    expect(packingEfficiency).toBeGreaterThan(0.7);
    const alone = await trainedTexts(texts, {});
    const count = (text: string): number => tokenizer.encode(text, { addSpecialTokens: false }).length;
    expect(tokens).toBe(alone.reduce((sum, text) => sum + count(text), 0));
  });

  test('packing with a formatting function', async () => {
    const outcome = await trained({ trainDataset: chats, formattingFunc }, { packing: true });
    learned(outcome);
    expect(outcome.begun.trainSummary.rows).toBeLessThan(chats.length);
    const whole = (await trainedTexts(chats, { packing: true }, formattingFunc)).join('');
    for (const { text } of texts) expect(whole).toContain(text.slice(1));
  });
});

describe('loading', () => {
  test('bf16 model kwargs: products round, and what was trained is float32 still', async () => {
    const [half, full] = [
      await trained({}, { modelInitKwargs: { torch_dtype: 'bfloat16', use_cache: false } }),
      await trained({}),
    ];
    learned(half);
    // Engines without such products say so.
    expect(half.warnings.includes('W_PRECISION_IGNORED')).toBe(half.begun.config.precision !== 'bfloat16');
    const [a = NaN, b = NaN] = [half.losses[0], full.losses[0]];
    expect(Math.abs(a / b - 1)).toBeLessThan(0.02);
    expect(JSON.parse(readFileSync(join(half.dir, 'config.json'), 'utf8'))).toMatchObject({ torch_dtype: 'float32' });
  });

  test('rope scaling from the kwargs is in force and saved', async () => {
    const scaling = { type: 'linear', factor: 2 };
    const outcome = await trained({}, { modelInitKwargs: { rope_scaling: scaling } });
    learned(outcome);
    expect(outcome.losses[0]).not.toBe((await trained({}, { maxSteps: 1 })).losses[0]);
    const { model } = await orThrow(loadModel(outcome.dir));
    expect(model.config).toMatchObject({ rope: { scaling: { kind: 'linear', factor: 2 }, theta: 10_000 } });
  });

  test('kwargs with a model that is loaded already are refused', async () => {
    const { model } = await orThrow(loadModel(base));
    const run = sftTrainer({ model, tokenizer, trainDataset: chats }, { modelInitKwargs: {} });
    await expect(lastValueFrom(run)).rejects.toMatchObject({ code: 'E_MODEL_KWARGS_WITH_INSTANCE', kind: 'usage' });
  });

  test.each([
    [{ torch_dtype: 'float16' }, 'modelInitKwargs.torchDtype'],
    [{ attn_implementation: 'paged' }, 'modelInitKwargs.attnImplementation'],
    [{ trust_remote_code: true }, 'modelInitKwargs.trustRemoteCode'],
    [{ rope_scalling: {} }, 'modelInitKwargs.ropeScalling'],
    [{ constructor: 1 }, 'modelInitKwargs.constructor'],
    [{ quantization_config: { quant_method: 'gptq', bits: 4 } }, 'modelInitKwargs.quantMethod'],
    [
      { quantization_config: { load_in_8bit: true, llm_int8_has_fp16_weight: true } },
      'modelInitKwargs.llmInt8HasFp16Weight',
    ],
    [{ quantization_config: { load_in_4bits: true } }, 'modelInitKwargs.loadIn4bits'],
  ])('kwargs %j are refused', (modelInitKwargs, field) => {
    expect(decodeSftConfig({ modelInitKwargs })).toMatchObject({ left: { code: 'E_OPTIONS', details: { field } } });
  });

  test('what kwargs and an option say must not differ', () => {
    const both = { modelInitKwargs: { load_in_4bit: true }, loadIn4bit: false };
    expect(decodeSftConfig(both)).toMatchObject({ left: { details: { field: 'loadIn4bit' } } });
    const same = { modelInitKwargs: { quantization_config: { load_in_4bit: true, bnb_4bit_quant_type: 'nf4' } } };
    expect(decodeSftConfig({ ...same, loadIn4bit: true, usePeft: true })).toMatchObject({
      right: { loadIn4bit: true, bnb4bitQuantType: 'nf4' },
    });
  });

  test('fused attention and attention step by step give the same losses', async () => {
    // The engine keeps the precision of the run before.
    const options = { precision: 'float32', maxSteps: 3 } as const;
    const fused = await trained({}, { ...options, modelInitKwargs: { attn_implementation: 'flash_attention_2' } });
    const eager = await trained({}, { ...options, modelInitKwargs: { attn_implementation: 'eager' } });
    expect(fused.losses).toHaveLength(3);
    expect(eager.warnings).toContain('W_EAGER_ATTENTION');
    expect(fused.warnings).not.toContain('W_EAGER_ATTENTION');
    expect(eager.begun.model.eagerAttention).toBe(true);
    expect(fused.begun.model.eagerAttention).toBeUndefined();
    fused.losses.forEach((loss, i) => expect(Math.abs(loss - (eager.losses[i] ?? NaN))).toBeLessThan(1e-4));
  });
});

describe('adapters', () => {
  const lora = { r: 8, loraAlpha: 16, learningRate: 1e-2 };

  test('LoRA: the adapter alone is trained and saved', async () => {
    const outcome = await trained({}, lora);
    learned(outcome);
    expect(outcome.files).toEqual(expect.arrayContaining(adapterFiles));
    expect(outcome.files).not.toContain('model.safetensors');
    const { model } = await orThrow(loadModel(base, { adapterDir: outcome.dir }));
    const before = numbersOf((await orThrow(loadModel(base))).model);
    for (const [name, values] of Object.entries(before)) expect(numbersOf(model)[name]).toEqual(values);
    expect(outcome.begun.trainableParameters).toBeLessThan(0.1 * outcome.begun.totalParameters);
  });

  test('an adapter is trained on: from where it stood', async () => {
    const first = await trained({}, lora);
    const { model } = await orThrow(loadModel(base, { adapterDir: first.dir }));
    const second = await trained({ model, tokenizer }, { ...lora, usePeft: false, r: undefined, loraAlpha: undefined });
    expect(second.losses[0]).toBeLessThan(first.losses[0] ?? 0);
    expect(second.losses.at(-1)).toBeLessThan(first.losses.at(-1) ?? 0);
    expect(JSON.parse(readFileSync(join(second.dir, 'adapter_config.json'), 'utf8'))).toMatchObject({ r: 8 });
  });

  test.each([
    ['8-bit', { load_in_8bit: true }, 0.02],
    ['4-bit', { load_in_4bit: true, bnb_4bit_quant_type: 'nf4', bnb_4bit_use_double_quant: true }, 0.15],
  ])('%s LoRA: near the losses of the float32 base', async (_, modelInitKwargs, tolerance) => {
    const quantised = await trained({}, { ...lora, modelInitKwargs });
    learned(quantised);
    const full = await trained({}, lora);
    quantised.losses.forEach((loss, i) => expect(Math.abs(loss / (full.losses[i] ?? NaN) - 1)).toBeLessThan(tolerance));
    expect(quantised.files).toEqual(expect.arrayContaining(adapterFiles));
    expect(quantised.files).not.toContain('model.safetensors');
  });
});

describe('NEFTune', () => {
  test('is in training only: evaluation before and after is that of a run without', async () => {
    const still = { learningRate: 0, evalSteps: options.maxSteps, evalOnStart: true };
    const quiet = await trained({ evalDataset: chats }, still);
    const noisy = await trained({ evalDataset: chats }, { ...still, neftuneNoiseAlpha: 10 });
    expect(noisy.losses).not.toEqual(quiet.losses);
    expect(noisy.losses.every((loss, i) => loss !== quiet.losses[i])).toBe(true);
    expect(noisy.evaluations.map(({ loss }) => loss)).toEqual(quiet.evaluations.map(({ loss }) => loss));
    // Nothing of it is left in the model.
    const [a, b] = [await orThrow(loadModel(noisy.dir)), await orThrow(loadModel(base))];
    expect(numbersOf(a.model)).toEqual(numbersOf(b.model));
  });

  test('learns', async () => {
    learned(await trained({}, { neftuneNoiseAlpha: 5 }), 0.95);
  });
});

test('a chat format is set up, trained and found again', async () => {
  const plain = plainBase(join(root, 'plain'));
  const outcome = await trained({ model: plain }, { chatFormat: 'chatml', resizeToMultipleOf: 8 });
  learned(outcome);
  const { model, tokenizer: spoken } = await orThrow(load(outcome.dir));
  expect(model.config).toMatchObject({ vocabSize: 520, eosTokenIds: [513] });
  expect(spoken).toMatchObject({ bosToken: '<|im_start|>', eosToken: '<|im_end|>', padToken: '<|pad|>' });
});
