/** Every architecture against what transformers computes from the same tiny checkpoint (reference/tiny_checkpoints.py). */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from '@jest/globals';
import { dispose, memory, zeros } from '@tensorflow/tfjs-core';
import { orThrow } from '../../src/errors.js';
import { evaluateLoss, lossAndGradients, logits } from '../../src/model/causalLm.js';
import type { CausalLM } from '../../src/model/model.js';
import { generate } from '../../src/model/generate.js';
import { adamW } from '../../src/model/kernels/adamW.js';
import { expectedTensors } from '../../src/model/architectures.js';
import type { Weights } from '../../src/model/layers/layer.js';
import { loadModel as loadFromDisk } from '../../src/train/loading/load.js';
import { documents, unpadded } from './batches.js';
import { engines, start } from './engines.js';
import { loadModel, readNumbers } from './loadModel.js';

const folder = resolve(import.meta.dirname, '..', 'golden', 'models');

interface Golden {
  readonly documents: ReadonlyArray<{
    readonly input_ids: ReadonlyArray<number>;
    readonly labels: ReadonlyArray<number>;
  }>;
  /** The last two rows of each document's. */
  readonly logits: ReadonlyArray<ReadonlyArray<ReadonlyArray<number>>>;
  readonly loss: { readonly right: number; readonly left: number };
  readonly losses: ReadonlyArray<number>;
  readonly generated: ReadonlyArray<number>;
  /** The load-balancing loss, where it is a part of the loss. */
  readonly aux_loss?: number;
}

const options = { seed: 1, step: 0, training: false } as const;

const norm = (values: ArrayLike<number>): number => Math.hypot(...Array.from(values));

/** Every gradient of the reference, [name, values]; the file holds them divided by their largest entry. */
const gradientsOf = (directory: string): ReadonlyArray<readonly [string, Float32Array]> => {
  const path = join(directory, 'gradients.safetensors');
  const bytes = readFileSync(path);
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + Number(bytes.readBigUInt64LE(0)))) as {
    readonly __metadata__: Readonly<Record<string, string>>;
  };
  return Object.entries(readNumbers(path)).map(([key, { values }]) => {
    const largest = Number(header.__metadata__[key]);
    return [key, values.map((x) => x * largest)] as const;
  });
};

/** What sees images lies in files as transformers writes it, which may join tensors. */
const opened = async (directory: string): Promise<CausalLM> =>
  directory.endsWith('_image') ? (await orThrow(loadFromDisk(directory))).model : loadModel(directory);

/** Read once for all engines. */
const references = readdirSync(folder).map((name) => {
  const golden = JSON.parse(readFileSync(join(folder, name, 'golden.json'), 'utf8')) as Golden;
  const packed = unpadded({
    input_ids: golden.documents.map(({ input_ids }) => input_ids),
    labels: golden.documents.map(({ labels }) => labels),
  });
  return { name, golden, packed, expected: gradientsOf(join(folder, name)) };
});
/** The fastest: what asks for much work, and for nothing of an engine that the rest does not, is asked of it alone. */
const fastest = engines.at(-1);
// Those that see images have layers that another one has: what differs is how they lie in files.
const cases = engines.flatMap((engine) =>
  references
    .filter(({ name }) => engine === fastest || !name.endsWith('_image'))
    .map((reference) => ({ engine, ...reference })),
);

describe.each(cases)('$name on $engine', ({ engine, name, golden, packed, expected }) => {
  let model: CausalLM;
  beforeAll(async () => {
    await start(engine);
    model = await opened(join(folder, name));
  });
  afterAll(() => dispose(Object.values(model.weights)));

  it('gives the logits of every document, packed together as alone', () => {
    const sequence = packed.sequence;
    const rows = Array.from(sequence.cuSeqlens.subarray(1)).flatMap((end) => [end - 2, end - 1]);
    const together = logits(model, sequence, Int32Array.from(rows));
    const expected = golden.logits.flat(2);
    const values = together.dataSync();
    expect(values).toHaveLength(expected.length);
    expect(Math.max(...expected.map((value, i) => Math.abs(value - (values[i] ?? NaN))))).toBeLessThan(1e-4);
    golden.documents.forEach(({ input_ids: ids }, d) => {
      const alone = logits(model, documents(ids), Int32Array.of(ids.length - 2, ids.length - 1));
      const own = golden.logits[d]?.flat() ?? [];
      const got = alone.dataSync();
      expect(Math.max(...own.map((value, i) => Math.abs(value - (got[i] ?? NaN))))).toBeLessThan(1e-4);
      alone.dispose();
    });
    together.dispose();
  });

  it('gives the loss of the batch padded right and padded left', () => {
    const output = evaluateLoss(model, packed.sequence, packed.targets);
    const [total = NaN] = output.total.dataSync();
    expect(Math.abs(total - golden.loss.right)).toBeLessThan(1e-5);
    expect(Math.abs(total - golden.loss.left)).toBeLessThan(1e-5);
    if (golden.aux_loss === undefined) expect(output.auxLoss).toBeUndefined();
    else expect(output.auxLoss).toBeCloseTo(golden.aux_loss, 5);
    dispose([output.total, output.loss, output.correct, output.entropy]);
  });

  it.each([false, true])('gives every gradient (checkpointing: %s) and keeps no tensor', (checkpointing) => {
    const before = memory().numTensors;
    const { gradients, ...losses } = lossAndGradients(model, packed.sequence, packed.targets, {
      ...options,
      gradientCheckpointing: checkpointing,
    });
    expect(Object.keys(gradients).sort()).toEqual(expected.map(([key]) => key).sort());
    const unlike = expected.filter(([key, values]) => {
      const got = gradients[key]?.dataSync() ?? [];
      const apart = norm(values.map((value, i) => value - (got[i] ?? NaN)));
      return got.length !== values.length || !(apart < 1e-3 * norm(values) + 1e-6);
    });
    expect(unlike.map(([key]) => key)).toEqual([]);
    dispose([...Object.values(gradients), ...Object.values(losses)]);
    expect(memory().numTensors).toBe(before);
  });

  it('continues the first document as transformers does, and keeps no tensor', async () => {
    const before = memory().numTensors;
    const [first] = golden.documents;
    const prompt = first?.input_ids ?? [];
    const ids = [...prompt];
    // The dynamic model is asked for more than it has positions for.
    const roomy = { ...model, config: { ...model.config, maxPositions: 64 } };
    for await (const id of generate(roomy, Int32Array.from(prompt), { maxNewTokens: 8, stopIds: [] })) ids.push(id);
    expect(ids).toEqual(golden.generated);
    expect(memory().numTensors).toBe(before);
  });

  it('continues it the same in company, which comes later and leaves earlier, and keeps no tensor', async () => {
    const before = memory().numTensors;
    const roomy = { ...model, config: { ...model.config, maxPositions: 64 } };
    const continued = async (prompt: ReadonlyArray<number>, maxNewTokens: number) => {
      const ids = [...prompt];
      for await (const id of generate(roomy, Int32Array.from(prompt), { maxNewTokens, stopIds: [] })) ids.push(id);
      return ids;
    };
    const [first, second] = golden.documents.map(({ input_ids }) => input_ids);
    const later = continued(second ?? [], 2).then(() => continued((second ?? []).slice(0, 3), 3));
    const [ids] = await Promise.all([continued(first ?? [], 8), later]);
    expect(ids).toEqual(golden.generated);
    expect(memory().numTensors).toBe(before);
  });

  // A step's kernels are the same each time: the slow engine shows in two that it takes them.
  const steps = engine === 'native' ? golden.losses : golden.losses.slice(0, 2);
  it(`has the losses of ${steps.length} AdamW steps`, async () => {
    const names = model.trainable;
    const shapes = new Map(expectedTensors(model.config).map((spec) => [spec.name, spec]));
    const weightDecay = Float32Array.from(names, (key) =>
      shapes.get(key)?.kind === 'norm' || key.includes('bias') ? 0 : 0.1,
    );
    const start = await opened(join(folder, name));
    let weights: Weights = start.weights;
    const blank = () => names.map((key) => zeros(weights[key]?.shape ?? []));
    let moments = {
      m: blank() as ReadonlyArray<ReturnType<typeof zeros>>,
      v: blank() as ReadonlyArray<ReturnType<typeof zeros>>,
    };
    const losses = steps.map((_, step) => {
      const { gradients, ...output } = lossAndGradients(
        { ...model, weights },
        packed.sequence,
        packed.targets,
        options,
      );
      const [total = NaN] = output.total.dataSync();
      const pick = (map: Weights) => names.flatMap((key) => map[key] ?? []);
      const moved = adamW({ parameters: pick(weights), ...moments }, pick(gradients), {
        learningRate: 5e-3,
        beta1: 0.9,
        beta2: 0.999,
        epsilon: 1e-8,
        weightDecay,
        step: step + 1,
        gradScale: 1,
      });
      dispose([...Object.values(gradients), ...Object.values(output)]);
      weights = {
        ...weights,
        ...Object.fromEntries(names.flatMap((key, i) => (moved.parameters[i] ? [[key, moved.parameters[i]]] : []))),
      };
      moments = { m: moved.m, v: moved.v };
      return total;
    });
    losses.forEach((loss, i) => expect(Math.abs(loss / (golden.losses[i] ?? NaN) - 1)).toBeLessThan(1e-3));
    dispose([...Object.values(weights), ...moments.m, ...moments.v]);
  });
});
