/** Adapters that begin with a part of the weights: the part that PEFT takes, its adapters read, and ours saved so that they fit the base. */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { mul, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import type { Either } from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import { attachLora } from '../../src/model/adapters/adapter.js';
import { addAdapter, setActiveAdapters, withoutAdapter } from '../../src/model/adapters/adapters.js';
import { architectureOf } from '../../src/model/architectures.js';
import { logits } from '../../src/model/causalLm.js';
import { adapterNames } from '../../src/model/adapters/adapterNames.js';
import { LoraConfig, scalingOf } from '../../src/model/adapters/lora.js';
import { loraDelta } from '../../src/model/adapters/loraDelta.js';
import type { CausalLM } from '../../src/model/model.js';
import { weightOf } from '../../src/model/weights.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { loadAdapter, loadModel } from '../../src/train/loading/load.js';
import { restoreWeights } from '../../src/train/run/resume.js';
import { saveModel } from '../../src/train/saving/save.js';
import { unpadded } from '../model/batches.js';
import { engines, start } from '../model/engines.js';
import { orThrow as right } from '../model/loadModel.js';

const golden = resolve(import.meta.dirname, '..', 'golden');
const root = mkdtempSync(join(tmpdir(), 'rxtune-initial-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

interface Recorded {
  readonly base: string;
  readonly options: {
    readonly r: number;
    readonly lora_alpha: number;
    readonly target_modules: ReadonlyArray<string>;
    readonly use_rslora?: boolean;
  };
  readonly parts: Readonly<Record<string, ReadonlyArray<number>>>;
  readonly ids: ReadonlyArray<ReadonlyArray<number>>;
  readonly logits: ReadonlyArray<number>;
}

const recordedOf = (name: string): Recorded =>
  JSON.parse(readFileSync(join(golden, 'initialAdapters', name, 'golden.json'), 'utf8')) as Recorded;

const near = (got: ArrayLike<number>, expected: ArrayLike<number>, relative = 1e-4): void => {
  expect(got).toHaveLength(expected.length);
  const largest = Array.from(expected).reduce((max, x) => Math.max(max, Math.abs(x)), 1e-3);
  Array.from(expected).forEach((x, i) => expect(Math.abs((got[i] ?? NaN) - x)).toBeLessThanOrEqual(relative * largest));
};

const loaded = async (base: string): Promise<CausalLM> =>
  (await orThrow(loadModel(join(golden, 'models', base)))).model;

const optionsOf = (name: string, more: object = {}): LoraConfig => {
  const { options } = recordedOf(name);
  const [initLoraWeights] = name.split('-');
  return right(
    LoraConfig.decode({
      r: options.r,
      loraAlpha: options.lora_alpha,
      targetModules: options.target_modules,
      useRslora: options.use_rslora ?? false,
      initLoraWeights,
      ...more,
    }),
  );
};

const computed = (model: CausalLM, ids: Recorded['ids']): ReadonlyArray<number> => {
  const { sequence } = unpadded({ input_ids: ids, labels: ids });
  const values = logits(model, sequence);
  const numbers = Array.from(values.dataSync());
  values.dispose();
  return numbers;
};

const partOf = ({ weights, config }: CausalLM, lora: LoraConfig, module: string): Tensor =>
  tidy(() => {
    const names = adapterNames(module);
    const a = weightOf(weights, names.a);
    const isConv1d = architectureOf(config).tensors.some(
      ({ name, kind }) => name === `${module}.weight` && kind === 'conv1d',
    );
    return mul(loraDelta(a, weightOf(weights, names.b), isConv1d), scalingOf(lora, module, a.shape[0]));
  });

/** The adapter moved a little, as training would. */
const moved = (model: CausalLM): CausalLM => ({
  ...model,
  weights: Object.fromEntries(
    Object.entries(model.weights).map(([name, weight]) => [
      name,
      model.trainable.includes(name) ? mul(weight, 1.25) : weight,
    ]),
  ),
});

const codeOf = (result: Either<FatalError, unknown>): string => (result._tag === 'Left' ? result.left.code : 'none');

describe.each(['pissa', 'pissa-gpt2', 'olora'].flatMap((name) => engines.map((engine) => [name, engine] as const)))(
  '%s on %s',
  (name, engine) => {
    const recorded = recordedOf(name);
    beforeAll(() => start(engine));

    test('takes the part that PEFT takes, and the model computes what it did', async () => {
      const before = computed(await loaded(recorded.base), recorded.ids);
      const lora = optionsOf(name);
      const model = right(attachLora(await loaded(recorded.base), lora, { seed: 3 }));
      expect(Object.keys(recorded.parts).length).toBeGreaterThan(0);
      for (const [module, part] of Object.entries(recorded.parts))
        near(partOf(model, lora, module).dataSync(), part, 1e-5);
      near(computed(model, recorded.ids), before);
    });

    test('that PEFT saved has the logits of PEFT', async () => {
      const { model } = await orThrow(loadAdapter(await loaded(recorded.base), join(golden, 'initialAdapters', name)));
      near(computed(model, recorded.ids), recorded.logits);
    });

    test('is saved as a plain adapter of twice the rank, and gone on with to the bit', async () => {
      const trained = moved(right(attachLora(await loaded(recorded.base), optionsOf(name), { seed: 3 })));
      const dir = join(root, engine, name);
      await orThrow(saveModel(dir, trained));
      const config = JSON.parse(readFileSync(join(dir, 'adapter_config.json'), 'utf8')) as Record<string, unknown>;
      expect([config['r'], config['init_lora_weights']]).toEqual([2 * recorded.options.r, true]);
      const { model } = await orThrow(loadAdapter(await loaded(recorded.base), dir));
      near(computed(model, recorded.ids), computed(trained, recorded.ids));
      const resumed = right(attachLora(await loaded(recorded.base), optionsOf(name), { seed: 3 }));
      await orThrow(restoreWeights(dir, resumed));
      expect(computed(resumed, recorded.ids)).toEqual(computed(trained, recorded.ids));
    });
  },
);

describe('a way to begin', () => {
  test('pissa_niter_N comes near the largest part', async () => {
    const [rough, exact] = await Promise.all(
      ['pissa_niter_16', 'pissa'].map(async (initLoraWeights) => {
        const lora = optionsOf('pissa', { initLoraWeights });
        return partOf(
          right(attachLora(await loaded('llama'), lora, { seed: 3 })),
          lora,
          'model.layers.1.mlp.down_proj',
        );
      }),
    );
    near(rough?.dataSync() ?? [], exact?.dataSync() ?? [], 0.05);
  });

  test('orthogonal begins with nothing added and both halves filled', async () => {
    const ids = recordedOf('pissa').ids;
    const before = computed(await loaded('llama'), ids);
    const model = right(
      attachLora(await loaded('llama'), optionsOf('pissa', { initLoraWeights: 'orthogonal' }), { seed: 3 }),
    );
    near(computed(model, ids), before, 1e-5);
    const { a, b } = adapterNames('model.layers.0.self_attn.q_proj');
    for (const half of [a, b])
      expect(
        weightOf(model.weights, half)
          .dataSync()
          .every((x) => x !== 0),
      ).toBe(true);
  });

  test('that takes from the base leaves it to the others when the adapter has a name', async () => {
    const ids = recordedOf('pissa').ids;
    const base = await loaded('llama');
    const before = computed(base, ids);
    const options = { r: 2, targetModules: ['q_proj'], initLoraWeights: 'pissa' };
    const model = right(addAdapter(right(addAdapter(base, 'one', options)), 'two', { r: 2 }));
    near(computed(model, ids), before);
    expect(computed(right(withoutAdapter(model)), ids)).toEqual(before);
    expect(computed(right(setActiveAdapters(model, 'two')), ids)).toEqual(before);
  });

  test('that is not offered, or that the rank or the base rules out, is refused', async () => {
    const refused = (options: object, model: CausalLM): string =>
      codeOf(attachLora(model, right(LoraConfig.decode(options)), { seed: 1 }));
    const model = await loaded('llama');
    expect(refused({ initLoraWeights: 'eva' }, model)).toBe('E_LORA_INIT');
    expect(refused({ initLoraWeights: 'orthogonal', r: 3 }, model)).toBe('E_LORA_INIT');
    expect(refused({ initLoraWeights: 'pissa', r: 17 }, model)).toBe('E_LORA_INIT');
    const { model: quantized } = await orThrow(loadModel(join(golden, 'models', 'llama'), { loadIn4bit: true }));
    expect(refused({ initLoraWeights: 'olora', r: 2 }, quantized)).toBe('E_LORA_INIT');
    const corda = decodeSftConfig({ initLoraWeights: 'corda' });
    expect(codeOf(corda)).toBe('E_LORA_INIT');
    expect(corda._tag === 'Left' ? corda.left.details.hint : '').toContain('covariances');
  });
});
