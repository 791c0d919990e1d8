import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { adapterKey, nameOfAdapterKey } from '../../src/formats/checkpoints/adapterKeys.js';
import { decodeAdapterConfig, encodeAdapterConfig } from '../../src/formats/checkpoints/adapterConfig.js';
import { readAdapter, writeAdapter } from '../../src/formats/checkpoints/adapterFiles.js';
import type { AdapterConfig, AdapterConfigRead } from '../../src/formats/checkpoints/adapterConfig.js';
import { writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import type { TensorToWrite } from '../../src/formats/tensors/safetensors.js';
import { sharedPath } from '../shared.js';
import { fileIn, temporaryDirectory } from './temporary.js';

const dir = temporaryDirectory();

const right = async <A>(task: TaskEither<FatalError, A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const left = async (task: TaskEither<FatalError, unknown>): Promise<FatalError> => {
  const result = await task();
  if (E.isRight(result)) throw new Error('no error');
  return result.left;
};
const decoded = (value: unknown): AdapterConfigRead => {
  const result = decodeAdapterConfig(value);
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const refused = (value: unknown): FatalError => {
  const result = decodeAdapterConfig(value);
  if (E.isRight(result)) throw new Error('decoded');
  return result.left;
};
const tensor = (name: string, shape: ReadonlyArray<number>): TensorToWrite => ({
  name,
  dtype: 'F32',
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => i / 3),
});

const config: AdapterConfig = {
  lora: {
    r: 4,
    loraAlpha: 8,
    loraDropout: 0,
    bias: 'none',
    fanInFanOut: false,
    useRslora: false,
    useDora: false,
    initLoraWeights: true,
    rankPattern: {},
    alphaPattern: {},
    targetModules: ['q_proj', 'v_proj'],
  },
  baseModelNameOrPath: 'base',
  taskType: 'CAUSAL_LM',
};

describe('adapter_config.json', () => {
  it('has the 21 keys of PEFT 0.7.1, and later ones only when they are used', () => {
    expect(Object.keys(encodeAdapterConfig(config)).toSorted()).toEqual([
      ...['alpha_pattern', 'auto_mapping', 'base_model_name_or_path', 'bias', 'fan_in_fan_out', 'inference_mode'],
      ...['init_lora_weights', 'layers_pattern', 'layers_to_transform', 'loftq_config', 'lora_alpha', 'lora_dropout'],
      ...['megatron_config', 'megatron_core', 'modules_to_save', 'peft_type', 'r', 'rank_pattern', 'revision'],
      ...['target_modules', 'task_type'],
    ]);
    expect(
      encodeAdapterConfig({ lora: { ...config.lora, useRslora: true, excludeModules: ['lm_head'] } }),
    ).toMatchObject({
      use_rslora: true,
      exclude_modules: ['lm_head'],
    });
  });

  it('is read in its oldest and newest forms', () => {
    expect(decoded({ r: 8, peft_type: 'LORA' }).config).toEqual({
      lora: { ...config.lora, r: 8, targetModules: undefined },
    });
    expect(
      decoded({ ...encodeAdapterConfig(config), qalora_group_size: 16, lora_bias: false, use_bdlora: null }),
    ).toEqual({
      config,
      warnings: [],
    });
    expect(decoded({ r: 8, peft_type: 'LORA', some_new_thing: 3 }).warnings).toMatchObject([
      { code: 'W_ADAPTER_KEY', field: 'some_new_thing' },
    ]);
  });

  it('is refused for other methods and for what would compute something else', () => {
    expect(refused({ peft_type: 'IA3' })).toMatchObject({ code: 'E_ADAPTER_TYPE' });
    expect(refused({ r: 8, peft_type: 'LORA', lora_bias: true })).toMatchObject({
      code: 'E_ADAPTER_UNSUPPORTED',
      details: { field: 'lora_bias' },
    });
    expect(refused({ r: 8, peft_type: 'LORA', init_lora_weights: 'pissa_niter_4' })).toMatchObject({
      code: 'E_ADAPTER_UNSUPPORTED',
      details: { field: 'init_lora_weights' },
    });
    for (const value of [
      {},
      [],
      3,
      { peft_type: 'LORA' },
      { peft_type: 'LORA', r: 0 },
      { peft_type: 'LORA', r: 8, bias: 'some' },
    ]) {
      expect(refused(value).code).toBe('E_ADAPTER_CONFIG');
    }
    expect(refused({ peft_type: 'LORA', r: 0 }).details).toMatchObject({
      field: expect.stringContaining('r') as unknown,
    });
  });
});

describe('adapter keys', () => {
  it('gain and lose the prefix, the wrapper and the adapter name', () => {
    expect(adapterKey('model.q_proj.lora_A.weight')).toBe('base_model.model.model.q_proj.lora_A.weight');
    expect(adapterKey('model.q_proj.bias', new Set(['model.q_proj']))).toBe(
      'base_model.model.model.q_proj.base_layer.bias',
    );
    for (const [key, name] of [
      ['base_model.model.model.q_proj.lora_A.weight', 'model.q_proj.lora_A.weight'],
      ['base_model.model.model.q_proj.lora_A.default.weight', 'model.q_proj.lora_A.weight'],
      ['base_model.model.model.q_proj.base_layer.bias', 'model.q_proj.bias'],
      ['base_model.model.wte.lora_embedding_A.default', 'wte.lora_embedding_A'],
      ['base_model.model.lm_head.modules_to_save.default.weight', 'lm_head.weight'],
      ['base_model.model.lm_head.weight', 'lm_head.weight'],
    ] as const) {
      expect(nameOfAdapterKey(key)).toBe(name);
    }
  });
});

describe('adapter directories', () => {
  const tensors = [
    tensor('model.layers.0.q_proj.lora_A.weight', [4, 6]),
    tensor('model.layers.0.q_proj.lora_B.weight', [5, 4]),
    tensor('model.layers.0.q_proj.bias', [5]),
    tensor('lm_head.weight', [3, 6]),
  ];

  it('give back what was written', async () => {
    const home = join(dir, 'adapter');
    mkdirSync(home);
    await right(writeAdapter(home, { config, tensors }));
    const read = await right(readAdapter(home));
    expect(read.config).toEqual(config);
    for (const { name, shape, data } of tensors) {
      const stored = read.tensors.get(name);
      expect(stored?.shape).toEqual(shape);
      expect(stored === undefined ? undefined : await right(stored.read())).toEqual(data);
    }
    expect(read.tensors.size).toBe(tensors.length);
    const text = readFileSync(join(home, 'adapter_config.json'), 'utf8');
    expect(text).toMatch(/^\{\n {2}"alpha_pattern": \{\},\n {2}"auto_mapping": null,[^]*\n\}$/);
  });

  it('are refused when halves are missing or do not fit', async () => {
    const home = join(dir, 'halves');
    mkdirSync(home);
    for (const wrong of [
      [tensor('q.lora_A.weight', [4, 6])],
      [tensor('q.lora_A.weight', [4, 6]), tensor('q.lora_B.weight', [5, 3])],
      [tensor('q.lora_A.weight', [4]), tensor('q.lora_B.weight', [5, 4])],
    ]) {
      await right(writeAdapter(home, { config, tensors: wrong }));
      expect(await left(readAdapter(home))).toMatchObject({ code: 'E_ADAPTER_WEIGHTS' });
    }
  });

  it('are refused when files are missing or damaged', async () => {
    const home = join(dir, 'missing');
    mkdirSync(home);
    expect((await left(readAdapter(home))).code).toBe('E_NO_ADAPTER');
    fileIn(home, 'adapter_config.json', '{');
    expect((await left(readAdapter(home))).code).toBe('E_NO_ADAPTER');
    fileIn(home, 'adapter_model.bin', 'x');
    expect((await left(readAdapter(home))).code).toBe('E_INVALID_JSON');
    fileIn(home, 'adapter_config.json', JSON.stringify(encodeAdapterConfig(config)));
    expect((await left(readAdapter(home))).code).toBe('E_PICKLE_FORMAT');
    fileIn(home, 'adapter_config.json', '{');
    await right(writeSafetensors(join(home, 'adapter_model.safetensors'), []));
    expect((await left(readAdapter(home))).code).toBe('E_INVALID_JSON');
    expect((await left(readAdapter(join(dir, 'nowhere')))).code).toBe('E_NO_FILE');
  });
});

const adapters = [
  'weights/gpt2-lora-adapter',
  'reference/stories260K_lora-init',
  'reference/stories260K_lora-final',
  'reference/gpt_nano_sort_lora-final',
];
const reference = sharedPath('data', 'reference', 'peft_state_dict_keys.json');
(reference === undefined ? describe.skip : describe)(
  reference === undefined ? 'adapters of PEFT (skipped: no folder of shared data)' : 'adapters of PEFT',
  () => {
    it.each(adapters)('%s comes out as it went in', async (name) => {
      const from = sharedPath('data', name) ?? '';
      const read = await right(readAdapter(from));
      const to = join(dir, name.replace('/', '-'));
      mkdirSync(to);
      await right(
        writeAdapter(to, {
          config: read.config,
          tensors: Array.from(read.tensors, ([own, { dtype, shape, read: data }]) => ({
            name: own,
            dtype,
            shape,
            data: () => right(data()),
          })),
        }),
      );
      const weights = (at: string): Buffer => readFileSync(join(at, 'adapter_model.safetensors'));
      expect(weights(to).equals(weights(from))).toBe(true);
      const configOf = (at: string): Record<string, unknown> =>
        JSON.parse(readFileSync(join(at, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
      const theirs = configOf(from);
      for (const [key, value] of Object.entries(configOf(to))) expect([key, value]).toEqual([key, theirs[key]]);
    });

    it('have the keys recorded for OPT, GPT-2 and Llama', () => {
      const recorded = JSON.parse(readFileSync(reference ?? '', 'utf8')) as Record<
        string,
        { readonly adapter_config?: unknown; readonly tensors: Readonly<Record<string, unknown>> }
      >;
      for (const { adapter_config: written, tensors } of Object.values(recorded)) {
        for (const key of Object.keys(tensors)) expect(adapterKey(nameOfAdapterKey(key))).toBe(key);
        if (written === undefined) continue;
        // That release had fewer keys; those it had must come out the same.
        expect(encodeAdapterConfig(decoded(written).config)).toMatchObject({
          ...(written as object),
          init_lora_weights: false,
        });
      }
      expect(Object.keys(recorded).length).toBeGreaterThan(2);
    });
  },
);
