import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { loraOf, SftConfig, sftTopics } from '../../src/train/options/config.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { sftAliases } from '../../src/train/options/optionNames.js';
import type { SftOptions } from '../../src/train/options/config.js';

const decoded = (options: unknown): SftConfig => {
  const result = decodeSftConfig(options);
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

const refusal = (
  options: unknown,
): { readonly code: string; readonly message: string; readonly hint?: string | undefined } => {
  const result = decodeSftConfig(options);
  if (E.isRight(result)) throw new Error('was accepted');
  const { code, message, details, kind } = result.left;
  expect(kind).toBe('usage');
  return { code, message, hint: details.hint };
};

test('the defaults are those of TrainingArguments', () => {
  const expected: SftOptions = {
    perDeviceTrainBatchSize: 8,
    perDeviceEvalBatchSize: 8,
    gradientAccumulationSteps: 1,
    numTrainEpochs: 3,
    maxSteps: -1,
    learningRate: 5e-5,
    lrSchedulerType: 'linear',
    warmupSteps: 0,
    warmupRatio: 0,
    weightDecay: 0,
    adamBeta1: 0.9,
    adamBeta2: 0.999,
    adamEpsilon: 1e-8,
    optim: 'adamw_torch',
    maxGradNorm: 1,
    labelSmoothingFactor: 0,
    loggingStrategy: 'steps',
    loggingFirstStep: false,
    evalStrategy: 'no',
    evalDelay: 0,
    saveStrategy: 'steps',
    saveSteps: 500,
    loadBestModelAtEnd: false,
    seed: 42,
    gradientCheckpointing: false,
    dataloaderDropLast: false,
    groupByLength: false,
    ignoreDataSkip: false,
    packing: false,
    numOfSequences: 1024,
    charsPerToken: 3.6,
    // LoRA, as in PEFT.
    r: 8,
    loraAlpha: 8,
    loraDropout: 0,
    bias: 'none',
  };
  expect(decoded({})).toMatchObject(expected);
});

test('every option belongs to one topic', () => {
  const inTopics = Object.values(sftTopics).flat();
  expect([...inTopics].sort()).toEqual(Object.keys(SftConfig.fields).sort());
  expect(new Set(inTopics).size).toBe(inTopics.length);
});

test('what was decoded decodes to itself', () => {
  const config = decoded({ r: 4, targetModules: ['q_proj'], evalSteps: 3, maxGradNorm: null });
  expect(decoded(config)).toEqual(config);
  expect(decoded(SftConfig.encode(config))).toEqual(config);
});

describe('other names', () => {
  test('mean the option', () => {
    expect(decoded({ maxSeqLength: 77, loraR: 3, bf16: true })).toMatchObject({
      maxLength: 77,
      r: 3,
      precision: 'bfloat16',
    });
  });

  test('an order of transformers is the option that asks for it', () => {
    const orders = { random: {}, sequential: { shuffle: false }, group_by_length: { groupByLength: true } };
    for (const [trainSamplingStrategy, own] of Object.entries(orders))
      expect(decoded({ trainSamplingStrategy })).toEqual(decoded(own));
    expect(refusal({ trainSamplingStrategy: 'batch_rebalance' }).message).toContain('is not offered');
  });

  test('what is not offered is told with all else that is wrong', () => {
    const { code, hint, message } = refusal({ fp16: true, mlm: true, learningRate: -1, lerningRate: 1 });
    expect(code).toBe('E_OPTIONS');
    expect(hint).toContain('precision: bfloat16');
    expect(message.split('\n')).toEqual([
      'option "fp16" is not offered at true',
      expect.stringMatching(/^ {2}also option "mlm" is not offered at true \(.+\)$/),
      '  also unknown option "lerningRate" (did you mean "learningRate"?)',
      expect.stringMatching(/^ {2}also wrong value for learningRate: expected .+, got -1 \(a number\)$/),
    ]);
  });

  test('all lead to options that are there', () => {
    for (const name of Object.values(sftAliases)) expect(Object.keys(SftConfig.fields)).toContain(name);
  });

  test('do not excuse giving it twice', () => {
    expect(refusal({ maxSeqLength: 7, maxLength: 8 }).message).toContain('given twice');
  });
});

describe('names of optimizers', () => {
  test.each([
    ['adamw_hf', 'adamw_torch'],
    ['adamw_torch_fused', 'adamw_torch'],
    ['adamw_apex_fused', 'adamw_torch'],
    ['paged_adamw_32bit', 'adamw_torch'],
    ['adamw_bnb_8bit', 'adamw_8bit'],
    ['paged_adamw_8bit', 'adamw_8bit'],
    ['lion_32bit', 'lion'],
    ['paged_lion_32bit', 'lion'],
    ['sgd', 'sgd'],
  ])('%s is %s', (optim, expected) => expect(decoded({ optim }).optim).toBe(expected));

  test.each([
    ['adamw_anyprecision', 'adamw_8bit'],
    ['lion_8bit', '32 bits'],
    ['adagrad', 'in code'],
    ['galore_adamw', 'adafactor'],
  ])('%s is refused, and what is offered is told', (optim, hint) => {
    expect(refusal({ optim })).toMatchObject({
      code: 'E_OPTIONS',
      message: expect.stringContaining(optim),
      hint: expect.stringContaining(hint),
    });
  });

  test('a name that nobody has is a wrong value', () => {
    expect(refusal({ optim: 'adamv' }).message).toContain('wrong value for optim');
    expect(refusal({ optim: 'constructor' }).message).toContain('wrong value for optim');
  });
});

describe('what options imply', () => {
  test('evalSteps switches evaluation on, and false stays false', () => {
    expect(decoded({ evalSteps: 5 }).evalStrategy).toBe('steps');
    expect(decoded({ evalSteps: 5, evalStrategy: 'no' }).evalStrategy).toBe('no');
  });

  test('an option of the adapter switches the adapter on', () => {
    expect(loraOf(decoded({ loraAlpha: 16 }))).toMatchObject({ r: 8, loraAlpha: 16 });
    expect(loraOf(decoded({}))).toBeUndefined();
    expect(loraOf(decoded({ usePeft: true }))).toMatchObject({ r: 8, loraAlpha: 8 });
  });
});

describe('refusals', () => {
  test.each([
    [{ lerningRate: 1 }, 'E_OPTIONS', 'learningRate'],
    [{ fp16: true }, 'E_OPTIONS', 'bfloat16'],
    [{ loadIn8bit: true, loadIn4bit: true }, 'E_OPTIONS', 'choose one'],
    [{ warmupRatio: 2 }, 'E_OPTIONS', undefined],
    [{ warmupSteps: 1.5 }, 'E_OPTIONS', undefined],
    [{ lrSchedulerType: 'reduce_lr_on_plateau' }, 'E_OPTIONS', 'setLearningRate'],
    [{ saveSteps: 0 }, 'E_OPTIONS', undefined],
    [{ saveSteps: 1.5 }, 'E_OPTIONS', undefined],
    [{ maxSteps: 0 }, 'E_OPTIONS', undefined],
    [{ streaming: true }, 'E_MAX_STEPS_REQUIRED', 'maxSteps'],
    [{ instructionTemplate: 'User:' }, 'E_OPTIONS', undefined],
    [{ loadBestModelAtEnd: true }, 'E_OPTIONS', 'evalStrategy'],
    [{ loadBestModelAtEnd: true, evalStrategy: 'epoch' }, 'E_OPTIONS', 'saveStrategy'],
    [{ loadBestModelAtEnd: true, evalSteps: 3, saveSteps: 4 }, 'E_OPTIONS', 'saveSteps is 4'],
    [{ earlyStoppingPatience: 1 }, 'E_OPTIONS', 'evalStrategy'],
    [{ saveStrategy: 'best' }, 'E_OPTIONS', 'evalStrategy'],
    [{ lrSchedulerType: 'polynomial', learningRate: 1e-8 }, 'E_OPTIONS', 'lrEnd'],
    [{ packing: true, responseTemplate: 'A:', parity: 'trl-0.7.10' }, 'E_COMPLETION_COLLATOR_WITH_PACKING', 'parity'],
  ])('%j', (options, code, hint) => {
    const found = refusal(options);
    expect(found.code).toBe(code);
    if (hint !== undefined) expect(found.hint).toContain(hint);
  });

  test('records of settings are their options', () => {
    const given = { lrSchedulerKwargs: { num_cycles: 3, lrEnd: 1e-6 }, datasetKwargs: { add_special_tokens: false } };
    expect(decoded(given)).toEqual(decoded({ lrCycles: 3, lrEnd: 1e-6, addSpecialTokens: false }));
    expect(decoded({ learningRate: 1e-3, lrSchedulerKwargs: { min_lr_rate: 0.25 } }).lrEnd).toBeCloseTo(2.5e-4, 12);
    expect(decoded({ lrSchedulerKwargs: { min_lr_ratio: 0.5, decay_type: '1-sqrt' } })).toMatchObject({
      lrEnd: 2.5e-5,
      lrDecayType: '1-sqrt',
    });
    expect(decoded({ lrSchedulerKwargs: { warmup_type: 'cosine', num_stable_steps: 7 } })).toMatchObject({
      lrWarmupType: 'cosine',
      lrStableSteps: 7,
    });
    expect(refusal({ lrSchedulerKwargs: { warmup_type: 'steep' } }).message).toContain('lrWarmupType');
    expect(refusal({ lrSchedulerKwargs: { min_lr_rate: 'half' } }).message).toContain('lrEnd');
    expect(decoded({ lrSchedulerKwargs: null, datasetKwargs: {} })).toEqual(decoded({}));
    expect(refusal({ lrSchedulerKwargs: { cycles: 3 } })).toMatchObject({
      hint: expect.stringContaining('num_cycles'),
    });
    expect(refusal({ lrSchedulerKwargs: 'num_cycles' }).message).toContain('a record of settings');
    expect(refusal({ lrSchedulerKwargs: { power: 2 }, lrPower: 3 }).message).toContain('given twice');
    expect(refusal({ lrSchedulerKwargs: { power: 'two' } }).message).toContain('lrPower');
  });

  test('a refused option that is off is no reason to stop', () => {
    expect(decoded({ fp16: false, hubToken: null }).precision).toBeUndefined();
  });
});
