/** Adapters that PEFT made over the parameters of all experts of a layer compute here what they compute there (reference/parameter_adapters.py). */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync, cpSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import { logits, lossAndGradients } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { architectureOf } from '../../src/model/architectures.js';
import { loadModel } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { unpadded } from '../model/batches.js';
import { engines, start } from '../model/engines.js';
import { near } from './adapterGolden.js';
import type { AdapterGolden } from './adapterGolden.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const folder = join(golden, 'parameterAdapters');
const root = mkdtempSync(join(tmpdir(), 'rxtune-parameters-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

/** Gradients of the experts' maps as PEFT has them of the whole parameter: A's add up, B's rows and columns are put together. */
const joined = (
  { config }: CausalLM,
  own: ReadonlyMap<string, ReadonlyArray<number>>,
): Readonly<Record<string, ReadonlyArray<number>>> => {
  const gradients = new Map(own);
  for (const { name, shape, parts } of architectureOf(config).packed) {
    const [experts = 1, outputs = 1, inputs = 1] = shape;
    const modules = parts.map((part) => part.replace(/\.weight$/, ''));
    if (shape.length !== 3 || !gradients.has(`${modules[0] ?? ''}.lora_A.weight`)) continue;
    const perExpert = modules.length / experts;
    const rank = (own.get(`${modules[0] ?? ''}.lora_A.weight`)?.length ?? 0) / inputs;
    const a: number[] = new Array<number>(experts * rank * inputs).fill(0);
    const b: number[] = new Array<number>(outputs * rank * experts).fill(0);
    modules.forEach((module, i) => {
      const expert = Math.floor(i / perExpert);
      const first = (i % perExpert) * (outputs / perExpert);
      // An expert that no token went to has none.
      (own.get(`${module}.lora_A.weight`) ?? []).forEach((x, at) => {
        a[expert * rank * inputs + at] = (a[expert * rank * inputs + at] ?? 0) + x;
      });
      (own.get(`${module}.lora_B.weight`) ?? []).forEach((x, at) => {
        b[((first + Math.floor(at / rank)) * rank + (at % rank)) * experts + expert] = x;
      });
      for (const half of ['A', 'B']) gradients.delete(`${module}.lora_${half}.weight`);
    });
    gradients.set(`${name}.A`, a);
    gradients.set(`${name}.B`, b);
  }
  return Object.fromEntries(gradients);
};

const cases = engines.flatMap((engine) => readdirSync(folder).map((name) => [name, engine] as const));

describe.each(cases)('%s on %s', (name, engine) => {
  beforeAll(() => start(engine));
  const adapterDir = join(folder, name);
  const recorded = JSON.parse(readFileSync(join(adapterDir, 'golden.json'), 'utf8')) as AdapterGolden;
  const baseDir = join(golden, 'models', recorded.base);
  const loaded = async (from = adapterDir): Promise<CausalLM> =>
    (await orThrow(loadModel(baseDir, { adapterDir: from }))).model;
  const { sequence, targets } = unpadded({ input_ids: recorded.ids, labels: recorded.labels });
  const logitsOf = (model: CausalLM): ReadonlyArray<number> => {
    const tensor = logits(model, sequence);
    const values = Array.from(tensor.dataSync());
    dispose([tensor, ...Object.values(model.weights)]);
    return values;
  };

  test('has the logits of PEFT, and so has what is saved of it', async () => {
    near(logitsOf(await loaded()), recorded.logits.flat(2), 1e-4);
    const dir = join(root, engine, name);
    await orThrow(saveModel(dir, await loaded(), { baseModelNameOrPath: recorded.base }));
    near(logitsOf(await loaded(dir)), recorded.logits.flat(2), 1e-4);
  });

  test('has the loss and every gradient of PEFT', async () => {
    const model = await loaded();
    const { gradients, ...output } = lossAndGradients(model, sequence, targets, { seed: 1, step: 0, training: false });
    expect(output.total.dataSync()[0]).toBeCloseTo(recorded.loss, 4);
    const own = new Map(Object.entries(gradients).map(([key, tensor]) => [key, Array.from(tensor.dataSync())]));
    const found = joined(model, own);
    // PEFT names them by their place in its wrappers: gates and ups within, downs around them, or downs alone.
    const parameter = (key: string): string => {
      const [, module, inner, half] = /^(.*\.experts)(\.base_layer)?\.lora_([AB])\.weight$/.exec(key) ?? [];
      return module === undefined ? key : `${module}.${inner === undefined ? 'down' : 'gate_up'}_proj.${half ?? ''}`;
    };
    const expected = Object.entries(recorded.gradients).map(([key, values]) => [parameter(key), values] as const);
    expect(Object.keys(found).sort()).toEqual(expected.map(([key]) => key).sort());
    for (const [key, values] of expected) near(found[key] ?? [], values, 1e-3);
    dispose({ ...gradients, ...output, ...model.weights });
  });
});

test('a parameter that holds no experts, and an adapter of another shape, are refused', async () => {
  await start('cpu');
  const refused = async (base: string, change: object, from = 'qwen3_moe'): Promise<unknown> => {
    const dir = mkdtempSync(join(root, 'changed-'));
    cpSync(join(folder, from), dir, { recursive: true });
    const file = join(dir, 'adapter_config.json');
    writeFileSync(file, JSON.stringify({ ...JSON.parse(readFileSync(file, 'utf8')), ...change }));
    return loadModel(join(golden, 'models', base), { adapterDir: dir })();
  };
  const field = 'target_parameters';
  expect(await refused('qwen3_moe', { target_parameters: ['q_proj.weight'] })).toMatchObject({
    left: { code: 'E_ADAPTER_UNSUPPORTED', details: { field, actual: 'q_proj.weight' } },
  });
  expect(await refused('llama', {})).toMatchObject({
    left: { code: 'E_ADAPTER_UNSUPPORTED', details: { field, expected: 'a model with experts' } },
  });
  expect(await refused('mixtral', {})).toMatchObject({ left: { code: 'E_LORA_WEIGHTS' } });
});
