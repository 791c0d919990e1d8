import { readFileSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, tensor2d } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { adapterTensors, attachSavedLora } from '../../src/model/adapters/savedAdapter.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { lossAndGradients } from '../../src/model/causalLm.js';
import { mergeLora } from '../../src/model/adapters/merge.js';
import { modelConfig, expectedTensors } from '../../src/model/architectures.js';
import type { CausalLM } from '../../src/model/model.js';
import { squaredNorm } from '../../src/model/kernels/squaredNorm.js';
import type { Weights } from '../../src/model/layers/layer.js';
import { LoraConfig } from '../../src/model/adapters/lora.js';
import { loraTargets } from '../../src/model/adapters/targets.js';
import type { FatalError } from '../../src/errors.js';
import { sharedPath } from '../shared.js';
import { unpadded } from './batches.js';
import { startUnderTest } from '../engine.js';
import { loadModel, orThrow, readTensors } from './loadModel.js';

const golden = (name: string): string => new URL(`../golden/models/${name}`, import.meta.url).pathname;
const config = (options: object): LoraConfig => orThrow(LoraConfig.decode(options));
const codeOf = (result: E.Either<FatalError, unknown>): string => (E.isLeft(result) ? result.left.code : 'none');

beforeAll(async () => {
  await startUnderTest('wasm');
});

const stories = sharedPath('data', 'weights', 'stories260K', 'hf');
const reference = sharedPath('data', 'reference');
const whenThere = stories === undefined || reference === undefined ? describe.skip : describe;

/** adapter_model.safetensors without PEFT's prefix. */
const savedAdapter = (path: string): Weights =>
  Object.fromEntries(
    Object.entries(readTensors(path)).map(([name, value]) => [name.replace(/^base_model\.model\./, ''), value]),
  );

interface Run {
  readonly name: string;
  readonly train: string;
  readonly eval_loss_before?: number;
  readonly eval_loss_after?: number;
  readonly log: ReadonlyArray<{ readonly loss: number; readonly grad_norm: number }>;
}
type Batches = ReadonlyArray<Parameters<typeof unpadded>[0]>;

const stepOf = (model: CausalLM, batch: Batches[number]): { readonly loss: number; readonly norm: number } => {
  const { sequence, targets } = unpadded(batch);
  const { gradients, ...output } = lossAndGradients(model, sequence, targets, {
    seed: 1,
    step: 0,
    training: true,
    dropout: false,
  });
  const norm = squaredNorm(Object.values(gradients));
  const result = { loss: output.total.dataSync()[0] ?? NaN, norm: Math.sqrt(norm.dataSync()[0] ?? NaN) };
  dispose({ ...gradients, ...output, norm });
  return result;
};

whenThere("PEFT's adapters (skipped without the shared test data)", () => {
  const cases = [
    {
      title: 'stories260K',
      base: () => loadModel(stories ?? ''),
      folder: 'stories260K_lora',
      options: { r: 8, loraAlpha: 16 },
      recorded: () => {
        const { data, runs } = JSON.parse(
          gunzipSync(readFileSync(`${reference ?? ''}/stories260K_sft.json.gz`)).toString(),
        ) as { readonly data: Readonly<Record<string, Batches>>; readonly runs: ReadonlyArray<Run> };
        const run = runs.find(({ name }) => name === 'lora-r8');
        return { run, batches: data[run?.train ?? ''] ?? [] };
      },
    },
    {
      title: 'gpt-nano-sort (Conv1D)',
      base: () => loadModel(sharedPath('data', 'weights', 'gpt-nano-sort', 'hf') ?? ''),
      folder: 'gpt_nano_sort_lora',
      options: { r: 4, loraAlpha: 8 },
      recorded: () => {
        const { batches, runs } = JSON.parse(readFileSync(`${reference ?? ''}/gpt_nano_sort_sft.json`, 'utf8')) as {
          readonly batches: Batches;
          readonly runs: ReadonlyArray<Run>;
        };
        return { run: runs.find(({ name }) => name.includes('lora')), batches };
      },
    },
  ];

  it.each(cases)('$title: take the recorded first step', ({ base, folder, options, recorded }) => {
    const { run, batches } = recorded();
    const model = orThrow(
      attachSavedLora(
        base(),
        config(options),
        savedAdapter(`${reference ?? ''}/${folder}-init/adapter_model.safetensors`),
      ),
    );
    const [batch] = batches;
    if (run === undefined || batch === undefined) throw new Error('the reference has no LoRA run');
    const { loss, norm } = stepOf(model, batch);
    expect(loss / (run.log[0]?.loss ?? NaN)).toBeCloseTo(1, 5);
    expect(norm / (run.log[0]?.grad_norm ?? NaN)).toBeCloseTo(1, 4);
    dispose(Object.values(model.weights));
  });

  it.each(cases)('$title: have the names and shapes that are saved', ({ base, folder, options }) => {
    const saved = savedAdapter(`${reference ?? ''}/${folder}-final/adapter_model.safetensors`);
    const model = orThrow(attachLora(base(), config(options), { seed: 3 }));
    const shapes = (weights: Weights) =>
      Object.fromEntries(Object.entries(weights).map(([name, { shape }]) => [name, shape]));
    expect(shapes(adapterTensors(model))).toEqual(shapes(saved));
    dispose([...Object.values(model.weights), ...Object.values(saved)]);
  });

  it.each(cases)('$title: give the same loss merged as attached', ({ base, folder, options, recorded }) => {
    const saved = savedAdapter(`${reference ?? ''}/${folder}-final/adapter_model.safetensors`);
    const model = orThrow(attachSavedLora(base(), config(options), saved));
    const [batch] = recorded().batches;
    if (batch === undefined) throw new Error('the reference has no batches');
    const attached = stepOf(model, batch).loss;
    const merged = orThrow(mergeLora(model));
    expect(stepOf(merged.model, batch).loss).toBeCloseTo(attached, 4);
    dispose(Object.values(merged.unmerge().weights));
  });
});

describe('targets', () => {
  const llama = orThrow(modelConfig(JSON.parse(readFileSync(`${golden('llama')}/config.json`, 'utf8'))));
  const modulesOf = (options: object, model = llama): ReadonlyArray<string> =>
    orThrow(loraTargets(config(options), expectedTensors(model), ['q_proj', 'v_proj'], model.modelType)).map(
      ({ module }) => module,
    );

  it('are those of the model type by default', () => {
    expect(modulesOf({})).toEqual([
      'model.layers.0.self_attn.q_proj',
      'model.layers.0.self_attn.v_proj',
      'model.layers.1.self_attn.q_proj',
      'model.layers.1.self_attn.v_proj',
    ]);
  });

  it('are all linear maps but the head for all-linear', () => {
    expect(modulesOf({ targetModules: 'all-linear' })).toHaveLength(14);
    expect(modulesOf({ targetModules: 'all-linear' })).not.toContain('lm_head');
    expect(modulesOf({ targetModules: 'all-linear' })).not.toContain('model.embed_tokens');
    expect(modulesOf({ targetModules: ['lm_head'] })).toEqual(['lm_head']);
    expect(modulesOf({ targetModules: ['embed_tokens'] })).toEqual(['model.embed_tokens']);
  });

  it('match a whole path by expression, a name by its end', () => {
    expect(modulesOf({ targetModules: '.*\\.1\\.mlp\\.(up|down)_proj' })).toEqual([
      'model.layers.1.mlp.up_proj',
      'model.layers.1.mlp.down_proj',
    ]);
    expect(codeOf(loraTargets(config({ targetModules: 'up_proj' }), expectedTensors(llama), [], 'llama'))).toBe(
      'E_LORA_TARGET',
    );
    expect(codeOf(loraTargets(config({ targetModules: ['p_proj'] }), expectedTensors(llama), [], 'llama'))).toBe(
      'E_LORA_TARGET',
    );
  });

  it('keep to layersToTransform and leave excludeModules and modulesToSave out', () => {
    expect(modulesOf({ layersToTransform: 1 })).toEqual([
      'model.layers.1.self_attn.q_proj',
      'model.layers.1.self_attn.v_proj',
    ]);
    expect(modulesOf({ layersToTransform: [0], layersPattern: 'layers', excludeModules: ['v_proj'] })).toEqual([
      'model.layers.0.self_attn.q_proj',
    ]);
    expect(modulesOf({ modulesToSave: ['q_proj'] })).toEqual([
      'model.layers.0.self_attn.v_proj',
      'model.layers.1.self_attn.v_proj',
    ]);
  });

  it.each([
    [{ targetModules: '(' }, 'not a regular expression'],
    [{ targetModules: '(.)\\1' }, 'refers back'],
    [{ excludeModules: '(?:a*)*' }, 'may be empty'],
    [{ targetModules: '.*q_proj', layersToTransform: [0] }, 'layersToTransform'],
    [{ targetModules: 'all-linear', layersToTransform: 1 }, 'layersToTransform'],
    [{ targetModules: 'all-linear', layersPattern: 'layers' }, 'layersPattern'],
    [{ layersPattern: ['layers'], targetModules: ['q_proj'] }, 'give both'],
    [{ targetModules: ['q_proj', 'input_layernorm'] }, 'names "model.layers.0.input_layernorm", a norm'],
  ])('refuse %j', (options, text) => {
    const result = loraTargets(config(options), expectedTensors(llama), [], 'llama');
    const [message, hint] = E.isLeft(result) ? [result.left.message, result.left.details.hint ?? ''] : ['', ''];
    expect(codeOf(result)).toBe('E_LORA_TARGET');
    expect(`${message} ${hint}`).toContain(text);
  });

  it('are maps and tables: a list that names a convolution is refused, an expression passes over it', () => {
    const found = (targetModules: string | ReadonlyArray<string>, excludeModules?: ReadonlyArray<string>) => {
      const mamba = orThrow(modelConfig(JSON.parse(readFileSync(`${golden('mamba')}/config.json`, 'utf8'))));
      return loraTargets(config({ targetModules, excludeModules }), expectedTensors(mamba), [], 'mamba');
    };
    const refused = found(['in_proj', 'conv1d']);
    expect(E.isLeft(refused) && refused.left.message).toContain('"backbone.layers.0.mixer.conv1d", a convolution');
    expect(orThrow(found(['in_proj', 'conv1d'], ['conv1d'])).map(({ module }) => module)).toEqual([
      'backbone.layers.0.mixer.in_proj',
      'backbone.layers.1.mixer.in_proj',
    ]);
    const all = orThrow(found('.*layers\\.0\\..*')).map(({ module }) => module.replace(/^.*\./, ''));
    expect(all).toEqual(['in_proj', 'x_proj', 'dt_proj', 'out_proj']);
  });

  it('refuse patterns that are no expressions, or that could take for ever', () => {
    for (const key of ['(', '(.)\\1', '(?:a*)*b']) {
      expect(codeOf(LoraConfig.decode({ rankPattern: { [key]: 2 } }))).toBe('E_OPTIONS');
      expect(codeOf(LoraConfig.decode({ alphaPattern: { [key]: 2 } }))).toBe('E_OPTIONS');
      expect(codeOf(LoraConfig.decode({ layersPattern: [key] }))).toBe('E_OPTIONS');
    }
  });

  it('are found in time that grows with the names alone', () => {
    const deep = `${'layers.'.repeat(3000)}q_proj`;
    const specs = [{ name: `${deep}.weight`, shape: [2, 2], kind: 'linear' as const }];
    const found = (options: object): unknown => loraTargets(config(options), specs, [], 'llama');
    expect(codeOf(found({ targetModules: '(?:(?:[a-z]+\\.?)+)+!' }) as never)).toBe('E_LORA_TARGET');
    expect(found({ targetModules: ['q_proj'], rankPattern: { '(?:[a-z]+\\.?)+!': 2 } })).toMatchObject({
      right: [{ rank: 8 }],
    });
  });

  it('have ranks and alphas by pattern', () => {
    const model = loadModel(golden('llama'));
    const options = config({
      rankPattern: { 'layers.1.self_attn.q_proj': 3 },
      alphaPattern: { v_proj: 2 },
      r: 2,
      loraAlpha: 4,
    });
    const attached = orThrow(attachLora(model, options, { seed: 1 }));
    expect(attached.weights['model.layers.1.self_attn.q_proj.lora_A.weight']?.shape).toEqual([3, 16]);
    expect(attached.weights['model.layers.0.self_attn.q_proj.lora_A.weight']?.shape).toEqual([2, 16]);
    dispose(Object.values(attached.weights));
  });
});

describe('beginnings', () => {
  it('draw A in ± 1/√inputs, or with deviation 1/r, and B zero', () => {
    const model = loadModel(golden('gpt2'));
    const uniform = orThrow(attachLora(model, config({ r: 4 }), { seed: 1 }));
    const name = 'transformer.h.0.attn.c_attn';
    const a = uniform.weights[`${name}.lora_A.weight`]?.dataSync() ?? [];
    expect(Math.max(...Array.from(a, Math.abs))).toBeLessThanOrEqual(0.25);
    expect(Math.max(...Array.from(a, Math.abs))).toBeGreaterThan(0.2);
    expect(Array.from(uniform.weights[`${name}.lora_B.weight`]?.dataSync() ?? [1]).every((x) => x === 0)).toBe(true);
    const gaussian = orThrow(attachLora(model, config({ r: 4, initLoraWeights: 'gaussian' }), { seed: 1 }));
    const drawn = Array.from(gaussian.weights[`${name}.lora_A.weight`]?.dataSync() ?? []);
    const deviation = Math.sqrt(drawn.reduce((sum, x) => sum + x * x, 0) / drawn.length);
    expect(deviation).toBeGreaterThan(0.18);
    expect(deviation).toBeLessThan(0.32);
    const both = orThrow(attachLora(model, config({ r: 4, initLoraWeights: false }), { seed: 1 }));
    expect(Array.from(both.weights[`${name}.lora_B.weight`]?.dataSync() ?? []).some((x) => x !== 0)).toBe(true);
  });
});

describe('refusals', () => {
  it('name what does not fit', () => {
    const model = loadModel(golden('llama'));
    const attached = orThrow(attachLora(model, config({}), { seed: 1 }));
    expect(codeOf(attachLora(attached, config({}), { seed: 1 }))).toBe('E_LORA_PRESENT');
    expect(codeOf(mergeLora(model))).toBe('E_LORA_ABSENT');
    expect(codeOf(attachSavedLora(model, config({}), {}))).toBe('E_LORA_WEIGHTS');
    expect(codeOf(attachLora(model, config({ modulesToSave: ['nowhere'] }), { seed: 1 }))).toBe('E_LORA_TARGET');
    const name = 'model.layers.0.self_attn.q_proj.lora_B.weight';
    const wrong = { ...adapterTensors(attached), [name]: tensor2d([[1]]) };
    expect(codeOf(attachSavedLora(model, config({}), wrong))).toBe('E_LORA_WEIGHTS');
    // Its factor would be another: 8 / 8 where it was trained with 8 / 4.
    const four = config({ r: 4, loraAlpha: 8 });
    const ofFour = adapterTensors(orThrow(attachLora(loadModel(golden('llama')), four, { seed: 1 })));
    expect(codeOf(attachSavedLora(model, { ...four, r: 8 }, ofFour))).toBe('E_LORA_WEIGHTS');
    expect(codeOf(attachSavedLora(model, { ...four, rankPattern: { v_proj: 2 } }, ofFour))).toBe('E_LORA_WEIGHTS');
    const nan = tensor2d(new Float32Array(16 * 8).fill(NaN), [16, 8]);
    expect(codeOf(mergeLora({ ...attached, weights: { ...attached.weights, [name]: nan } }))).toBe('E_LORA_NOT_FINITE');
    dispose([...Object.values(attached.weights), nan, wrong[name]]);
  });
});

describe('rows of tokens that train', () => {
  it.each([
    [{ trainableTokenIndices: [40] }, '40'],
    [{ trainableTokenIndices: [3, 3] }, 'twice'],
    [{ trainableTokenIndices: { nowhere: [1] } }, 'nowhere'],
    [{ trainableTokenIndices: [3], modulesToSave: ['embed_tokens'] }, 'trains whole'],
    [{ trainableTokenIndices: { lm_head: [3] }, targetModules: ['lm_head'] }, 'has an adapter'],
  ])('refuse %j', (options, text) => {
    const model = loadModel(golden('llama'));
    const result = attachLora(model, config(options), { seed: 1 });
    expect(codeOf(result)).toBe('E_LORA_TARGET');
    expect(E.isLeft(result) ? result.left.message : '').toContain(text);
    dispose(Object.values(model.weights));
  });

  it('of a tied head are those of the embedding where the ids are the same', () => {
    const model = loadModel(golden('llama_biased_tied'));
    const rowsOf = (trainableTokenIndices: object): ReadonlyArray<string> => {
      const { trainable } = orThrow(attachLora(model, config({ trainableTokenIndices }), { seed: 1 }));
      return trainable
        .filter((name) => name.includes('token_adapter'))
        .map((name) => name.replace('.token_adapter.trainable_tokens_delta', ''));
    };
    expect(rowsOf({ embed_tokens: [3, 5], lm_head: [3, 5] })).toEqual(['model.embed_tokens']);
    expect(rowsOf({ embed_tokens: [3, 5], lm_head: [3] })).toEqual(['model.embed_tokens', 'lm_head']);
    dispose(Object.values(model.weights));
  });
});

describe('bias', () => {
  it('all trains what modules call bias, and no dt_bias of layers with states, as PEFT does', () => {
    const model = loadModel(golden('mamba2_tied'));
    expect(Object.keys(model.weights)).toContain('backbone.layers.0.mixer.dt_bias');
    const { trainable } = orThrow(attachLora(model, config({ bias: 'all', targetModules: ['in_proj'] }), { seed: 1 }));
    expect(trainable.filter((name) => name.endsWith('bias'))).toEqual(
      [0, 1].flatMap((i) => ['in_proj', 'out_proj'].map((part) => `backbone.layers.${i}.mixer.${part}.bias`)),
    );
    dispose(Object.values(model.weights));
  });
});

describe('modulesToSave', () => {
  it('names modules by any end of their paths, as PEFT does', () => {
    const model = loadModel(golden('llama'));
    const { trainable } = orThrow(attachLora(model, config({ modulesToSave: ['norm'] }), { seed: 1 }));
    expect(trainable.filter((name) => !name.includes('lora_'))).toEqual(
      Object.keys(model.weights).filter((name) => name.endsWith('norm.weight')),
    );
    expect(trainable).toContain('model.layers.1.input_layernorm.weight');
    dispose(Object.values(model.weights));
  });
});

describe('a tied head in modulesToSave', () => {
  it('parts from the embedding, as in PEFT', () => {
    const model = loadModel(golden('llama_biased_tied'));
    const attached = orThrow(attachLora(model, config({ modulesToSave: ['lm_head'] }), { seed: 1 }));
    expect(attached.trainable).toContain('lm_head.weight');
    expect(attached.trainable).not.toContain('model.embed_tokens.weight');
    expect(Object.keys(adapterTensors(attached))).toContain('lm_head.weight');
    dispose(Object.values(attached.weights));
  });
});

describe('saved adapters of experts', () => {
  const lora = config({ targetModules: ['gate_proj'], r: 2 });
  const isExpert = (name: string): boolean => /\.experts\.\d+\./.test(name);

  it('are taken without the experts where none is in them, as transformers 5 leaves them out', () => {
    const whole = orThrow(attachLora(loadModel(golden('qwen2_moe')), lora, { seed: 1 }));
    const all = adapterTensors(whole);
    const saved = Object.fromEntries(Object.entries(all).filter(([name]) => !isExpert(name)));
    expect(Object.keys(saved).length).toBeGreaterThan(0);
    expect(Object.keys(all).length).toBeGreaterThan(Object.keys(saved).length);
    const model = orThrow(attachSavedLora(loadModel(golden('qwen2_moe')), lora, saved));
    expect(Object.keys(adapterTensors(model)).sort()).toEqual(Object.keys(saved).sort());
    expect([...model.trainable].sort()).toEqual(Object.keys(saved).sort());
  });

  it('must be whole where one is', () => {
    const all = adapterTensors(orThrow(attachLora(loadModel(golden('qwen2_moe')), lora, { seed: 1 })));
    const [first] = Object.keys(all).filter(isExpert);
    const { [first ?? '']: _, ...saved } = all;
    expect(codeOf(attachSavedLora(loadModel(golden('qwen2_moe')), lora, saved))).toBe('E_LORA_WEIGHTS');
    expect(codeOf(attachSavedLora(loadModel(golden('mixtral')), config({ targetModules: ['w1'], r: 2 }), {}))).toBe(
      'E_LORA_WEIGHTS',
    );
  });
});

it('an adapter of an embedding that has rows beside those of the vocabulary is attached again', () => {
  const lora = config({ targetModules: ['embed_tokens', 'q_proj'], r: 2 });
  const saved = adapterTensors(orThrow(attachLora(loadModel(golden('mllama')), lora, { seed: 1 })));
  const model = orThrow(attachSavedLora(loadModel(golden('mllama')), lora, saved));
  expect(Object.keys(adapterTensors(model)).sort()).toEqual(Object.keys(saved).sort());
  expect(model.config.vocabSize).toBe(loadModel(golden('mllama')).config.vocabSize);
});
