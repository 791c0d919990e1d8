/** Adapters that PEFT saved compute here what they compute there, train by the same gradients, and are saved under the same keys. */
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { dispose } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import { readSafetensors, writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import { logits, lossAndGradients } from '../../src/model/causalLm.js';
import { loadModel } from '../../src/train/loading/load.js';
import { saveModel } from '../../src/train/saving/save.js';
import { unpadded } from '../model/batches.js';
import { engines, start } from '../model/engines.js';
import { near } from './adapterGolden.js';
import type { AdapterGolden } from './adapterGolden.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const root = mkdtempSync(join(tmpdir(), 'rxtune-peft-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test("an adapter of GPT-NeoX's head as transformers 4 called it is the same adapter", async () => {
  await start('wasm');
  const from = join(golden, 'adapters', 'gpt_neox-head');
  const old = join(root, 'embed_out');
  cpSync(from, old, { recursive: true });
  const { tensors } = await orThrow(readSafetensors(join(from, 'adapter_model.safetensors')));
  await orThrow(
    writeSafetensors(
      join(old, 'adapter_model.safetensors'),
      Array.from(tensors).flatMap(([key, tensor]) =>
        // PEFT knew no embed_out whose table it would save, too.
        key.includes('base_layer')
          ? []
          : [
              {
                name: key.replace('.lm_head.', '.embed_out.'),
                dtype: 'F32' as const,
                shape: tensor.shape,
                data: () => orThrow(tensor.read()),
              },
            ],
      ),
    ),
  );
  const config = join(old, 'adapter_config.json');
  writeFileSync(config, readFileSync(config, 'utf8').replace('"lm_head"', '"embed_out"'));
  const recorded = JSON.parse(readFileSync(join(from, 'golden.json'), 'utf8')) as AdapterGolden;
  const { model } = await orThrow(loadModel(join(golden, 'models', 'gpt_neox'), { adapterDir: old }));
  const values = logits(model, unpadded({ input_ids: recorded.ids, labels: recorded.labels }).sequence);
  near(values.dataSync(), recorded.logits.flat(2), 1e-4);
  dispose([values, ...Object.values(model.weights)]);
});

const cases = engines.flatMap((engine) => readdirSync(join(golden, 'adapters')).map((name) => [name, engine] as const));

describe.each(cases)('%s on %s', (name, engine) => {
  beforeAll(() => start(engine));
  const adapterDir = join(golden, 'adapters', name);
  const recorded = JSON.parse(readFileSync(join(adapterDir, 'golden.json'), 'utf8')) as AdapterGolden;
  const quantisation = name.endsWith('nf4') ? { loadIn4bit: true, bnb4bitQuantType: 'nf4' as const } : {};
  const loaded = async () =>
    (await orThrow(loadModel(join(golden, 'models', recorded.base), { adapterDir, ...quantisation }))).model;
  const { sequence, targets } = unpadded({ input_ids: recorded.ids, labels: recorded.labels });

  test('has the logits of PEFT', async () => {
    const values = logits(await loaded(), sequence);
    near(values.dataSync(), recorded.logits.flat(2), 1e-4);
    values.dispose();
  });

  test('has the loss and every gradient of PEFT', async () => {
    const { gradients, ...output } = lossAndGradients(await loaded(), sequence, targets, {
      seed: 1,
      step: 0,
      training: false,
    });
    expect(output.total.dataSync()[0]).toBeCloseTo(recorded.loss, 4);
    expect(Object.keys(gradients).sort()).toEqual(Object.keys(recorded.gradients).sort());
    for (const [key, expected] of Object.entries(recorded.gradients))
      near(gradients[key]?.dataSync() ?? [], expected, 1e-3);
    dispose({ ...gradients, ...output });
  });

  test('is saved under the keys and shapes that PEFT has, and its options say the same', async () => {
    const dir = join(root, engine, name);
    await orThrow(saveModel(dir, await loaded(), { baseModelNameOrPath: recorded.base }));
    const shapes = async (from: string) => {
      const { tensors } = await orThrow(readSafetensors(join(from, 'adapter_model.safetensors')));
      return Object.fromEntries(Array.from(tensors, ([key, { shape, dtype }]) => [key, [dtype, shape]]));
    };
    expect(await shapes(dir)).toEqual(await shapes(adapterDir));
    const config = (from: string): Readonly<Record<string, unknown>> =>
      JSON.parse(readFileSync(join(from, 'adapter_config.json'), 'utf8')) as Readonly<Record<string, unknown>>;
    const theirs = config(adapterDir);
    for (const [key, value] of Object.entries(config(dir))) {
      // PEFT sorts what it was given as a set.
      const sorted = (x: unknown): unknown => (Array.isArray(x) ? [...(x as ReadonlyArray<string>)].sort() : x);
      if (!['target_modules', 'loftq_config'].includes(key) || Array.isArray(value))
        expect([key, sorted(value)]).toEqual([key, sorted(theirs[key])]);
    }
  });
});
