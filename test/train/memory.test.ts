/** What a run is estimated to need, what there is, and what is said where the one is more than the other. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { lastValueFrom } from 'rxjs';
import { isFatal, orThrow, render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import type { CausalLM } from '../../src/model/model.js';
import { availableMemory, freeOfVmStat } from '../../src/train/memory/availableMemory.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftConfig, SftOptions } from '../../src/train/options/config.js';
import { chooseEngine } from '../../src/train/engine.js';
import { estimateMemory, fitsLoaded, fitsUnloaded, mostTokens, needOf } from '../../src/train/memory/fitMemory.js';
import { latentSpecs } from '../../src/model/attention/latentAttention.js';
import { checkMemory, fittingOptions, gibibytes, memoryNeed } from '../../src/train/memory/memory.js';
import type { MemoryShape } from '../../src/train/memory/memory.js';
import { sftTrainer } from '../../src/train/trainer.js';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';

beforeAll(async () => {
  await orThrow(chooseEngine());
});

const configOf = (options: SftOptions): SftConfig => {
  const decoded = decodeSftConfig(options);
  if (decoded._tag === 'Left') throw decoded.left;
  return decoded.right;
};

/** Two layers of 10 → 30 → 10 and a table of 50 rows; everything trains. */
const shape: MemoryShape = {
  specs: [
    { name: 'wte.weight', shape: [50, 10], kind: 'embedding' },
    ...[0, 1].flatMap((i) => [
      { name: `h.${i}.up_proj.weight`, shape: [30, 10], kind: 'linear' } as const,
      { name: `h.${i}.down_proj.weight`, shape: [10, 30], kind: 'linear' } as const,
      { name: `h.${i}.norm.weight`, shape: [10], kind: 'norm' } as const,
    ]),
  ],
  hiddenSize: 10,
  vocabSize: 50,
  tieWordEmbeddings: true,
  trains: () => true,
  adapters: new Map(),
  frozenBytes: 4,
  keptBytes: 4,
  addsInPlace: false,
  tokens: 1000,
  gradientAccumulationSteps: 1,
  gradientCheckpointing: false,
  optim: 'adamw_torch',
  momentum: 0,
};
const numbers = 50 * 10 + 2 * (300 + 300 + 10);

describe('what a run needs', () => {
  test('every number that trains has a gradient and its optimizer state', () => {
    const need = memoryNeed(shape);
    expect([need.weights, need.gradients, need.optimizer]).toEqual([4 * numbers, 4 * numbers, 8 * numbers]);
    const optimizer = (optim: MemoryShape['optim'], momentum = 0): number =>
      memoryNeed({ ...shape, optim, momentum }).optimizer;
    expect(optimizer('lion')).toBe(4 * numbers);
    expect(optimizer('sgd')).toBe(0);
    expect(optimizer('sgd', 0.9)).toBe(4 * numbers);
    // Too small for 8 bits, all of them.
    expect(optimizer('adamw_8bit')).toBe(8 * numbers);
    const wide = { ...shape, specs: [{ name: 'h.0.up_proj.weight', shape: [100, 90], kind: 'linear' } as const] };
    // Two bytes a number, two scales for every 256.
    expect(memoryNeed({ ...wide, optim: 'adamw_8bit' }).optimizer).toBe(2 * (9000 + 4 * 36));
    const table = { ...shape, specs: [{ name: 'wte.weight', shape: [100, 90], kind: 'embedding' } as const] };
    expect(memoryNeed({ ...table, optim: 'adamw_8bit' }).optimizer).toBe(8 * 9000);
    // Rows and columns of matrices, vectors whole.
    expect(optimizer('adafactor')).toBe(4 * (60 + 2 * (40 + 40 + 10)));
    expect(memoryNeed({ ...shape, gradientAccumulationSteps: 2 }).gradients).toBe(8 * numbers);
  });

  test('tokens keep what the experts they go to put out and read, and no more', () => {
    const map = (name: string, output: number, input: number, share?: number): MemoryShape['specs'][number] => ({
      name: `${name}.weight`,
      shape: [output, input],
      kind: 'linear',
      ...(share === undefined ? {} : { share }),
    });
    const mlp = (module: string, width: number, share?: number): MemoryShape['specs'] => [
      map(`${module}.gate_proj`, width, 10, share),
      map(`${module}.up_proj`, width, 10, share),
      map(`${module}.down_proj`, 10, width, share),
    ];
    const dense = memoryNeed({ ...shape, specs: [...mlp('h.0.mlp', 30), ...mlp('h.0.more', 30)] });
    const routed = memoryNeed({
      ...shape,
      specs: Array.from({ length: 8 }, (_, e) => mlp(`h.0.mlp.experts.${e}`, 30, 2 / 8)).flat(),
    });
    expect(routed.activations).toBeCloseTo(dense.activations, 3);
    expect(routed.weights).toBe(4 * dense.weights);
    // The rows of all experts are there at once: two a token.
    expect(routed.workspace - dense.workspace).toBeCloseTo(4 * 1000 * 3 * 30, 3);
  });

  test('every token keeps what each layer puts out and what its trained maps read', () => {
    expect(memoryNeed(shape).activations).toBe(4 * 1000 * 2 * (30 + 10 + 10 + 30));
    // Frozen maps need not keep what they read.
    expect(memoryNeed({ ...shape, trains: () => false }).activations).toBe(4 * 1000 * 2 * (30 + 10));
    // One hidden state a layer, and one layer anew.
    expect(memoryNeed({ ...shape, gradientCheckpointing: true }).activations).toBe(4 * 1000 * (2 * 10 + 80));
    // Or several of them.
    expect(memoryNeed({ ...shape, streams: 4, gradientCheckpointing: true }).activations).toBe(
      4 * 1000 * (2 * 4 * 10 + 80),
    );
  });

  test('of latent attention each head keeps a whole key and its values', () => {
    const latent = { queryRank: undefined, kvRank: 5, nopeDim: 3, ropeDim: 2, valueDim: 4, interleaved: true };
    const sizes = { numLayers: 1, numHeads: 2, headDim: 5, hiddenSize: 10, attentionScale: 1, latent };
    const specs = latentSpecs({ ...sizes, qkvBias: false, outputBias: false }, 'h.0.attn');
    const frozen = memoryNeed({ ...shape, specs, trains: () => false }).activations;
    // Queries and keys, values and what comes of them; the latent with what turns, for its norm; the output.
    expect(frozen).toBe(4 * 1000 * (2 * 2 * 5 + 2 * 2 * 4 + (5 + 2) + 10));
  });

  test('on a card attention keeps bfloat16 too, frozen norms their values, and no adapter a gated activation', () => {
    const card = { ...shape, keptBytes: 2, onCard: true };
    const map = (name: string, output: number, input: number): MemoryShape['specs'][number] => ({
      name: `h.0.${name}.weight`,
      shape: [output, input],
      kind: 'linear',
    });
    const attn = ['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((name) => map(name, 10, 10));
    expect(memoryNeed({ ...card, specs: attn }).activations).toBe(1000 * 2 * (10 + 30 + 10 + 10));
    const norm: MemoryShape['specs'][number] = { name: 'h.0.norm.weight', shape: [10], kind: 'norm' };
    const mlp = [map('gate_proj', 30, 10), map('up_proj', 30, 10), map('down_proj', 10, 30), norm];
    const adapters = new Map(['gate', 'up', 'down'].map((name) => [`h.0.${name}_proj`, 2]));
    const adapted = { ...card, specs: mlp, trains: () => false, adapters };
    // What the norm gave, which both maps read; gate and up; what adapters make between their halves.
    expect(memoryNeed(adapted).activations).toBe(1000 * (2 * (10 + 60) + 4 * 6));
    // A norm with a bias, or one that trains, needs what it read: the sum that the layer before left.
    const withBias = { ...adapted, specs: [...mlp, { ...norm, name: 'h.0.norm.bias' }] };
    expect(memoryNeed(withBias).activations).toBe(1000 * (2 * (10 + 60 + 10) + 4 * 6));
    // Weights want what they read.
    expect(memoryNeed({ ...card, specs: mlp }).activations).toBe(1000 * 2 * (10 + 60 + 30 + 10));
    // The processor keeps all of it.
    expect(memoryNeed({ ...adapted, onCard: false }).activations).toBe(1000 * (2 * (10 + 60 + 30 + 10) + 4 * 6));
  });

  test('kept as bfloat16 activations take half, but for what attention keeps for itself', () => {
    const attn: MemoryShape = {
      ...shape,
      specs: ['q_proj', 'k_proj', 'v_proj', 'o_proj'].map((name) => ({
        name: `h.0.attn.${name}.weight`,
        shape: [10, 10],
        kind: 'linear',
      })),
    };
    expect(memoryNeed(attn).activations).toBe(1000 * 4 * (10 + 30 + 10 + 10));
    // What the projections read, and, beside attention's own, what the last one reads; its output is the residual's.
    expect(memoryNeed({ ...attn, keptBytes: 2 }).activations).toBe(1000 * (2 * (10 + 10 + 10) + 4 * (30 + 10)));
    expect(memoryNeed({ ...attn, keptBytes: 2, trains: () => false }).activations).toBe(
      1000 * (2 * 10 + 4 * (30 + 10)),
    );
    expect(memoryNeed({ ...shape, keptBytes: 2 }).activations).toBe(memoryNeed(shape).activations / 2);
    // One matrix for queries, keys and values keeps as much as three; only what they read is one copy either way.
    for (const [name, output] of [
      ['self_attn.qkv_proj', 'self_attn.o_proj'],
      ['attention.query_key_value', 'attention.dense'],
    ] as const) {
      const fused: MemoryShape = {
        ...shape,
        specs: [
          { name: `h.0.${name}.weight`, shape: [30, 10], kind: 'linear' },
          { name: `h.0.${output}.weight`, shape: [10, 10], kind: 'linear' },
        ],
        keptBytes: 2,
      };
      expect({ name, kept: memoryNeed(fused).activations }).toEqual({
        name,
        kept: memoryNeed({ ...attn, keptBytes: 2 }).activations,
      });
    }
  });

  test('an embedding that is the head too has one gradient where it is added in place', () => {
    const few = { ...shape, tokens: 1 };
    expect(memoryNeed(few).peak - memoryNeed({ ...few, addsInPlace: true }).peak).toBe(4 * 50 * 10);
  });

  test('rows that train apart are few numbers, and what multiplies by a table with them in it is one more table', () => {
    const none = { ...shape, trains: () => false };
    const [before, after] = [memoryNeed(none), memoryNeed({ ...none, tokenRows: 20, headMatrices: 2 })];
    expect(after.optimizer - before.optimizer).toBe(2 * 4 * 20);
    expect(after.workspace - before.workspace).toBe(2 * 4 * 50 * 10);
  });

  test('an adapter trains its halves alone, and frozen matrices may lie in half of the memory', () => {
    const lora = { ...shape, trains: () => false, adapters: new Map([['h.0.up_proj', 3]]) };
    const adapter = 3 * (30 + 10);
    expect(memoryNeed(lora)).toMatchObject({ weights: 4 * (numbers + adapter), gradients: 4 * adapter });
    expect(memoryNeed(lora).activations).toBe(4 * 1000 * (2 * (30 + 10) + 3 + 10));
    expect(memoryNeed({ ...lora, frozenBytes: 2 }).weights).toBe(2 * (numbers - 20) + 4 * (20 + adapter));
  });

  test('the largest micro-batch is that of the longest rows', () => {
    const rows = [5, 9, 1, 7].map((length) => ({ inputIds: new Int32Array(length), seqLengths: [length] }));
    expect(mostTokens(rows, { perDeviceTrainBatchSize: 2, maxLength: 16 })).toBe(16);
    expect(mostTokens(rows, { perDeviceTrainBatchSize: 8, maxLength: 16 })).toBe(22);
    expect(mostTokens(undefined, { perDeviceTrainBatchSize: 8, maxLength: 16 })).toBe(128);
  });
});

describe('what to change', () => {
  const big = { ...shape, tokens: 4_000_000 };
  const config = configOf({ perDeviceTrainBatchSize: 4, maxLength: 1000 });
  const limitBelow = (changed: MemoryShape): number => memoryNeed(changed).peak + 1;

  test('every single option that suffices is named', () => {
    const told = fittingOptions(big, config, limitBelow({ ...big, gradientCheckpointing: true }));
    expect(told).toContain('gradientCheckpointing');
    expect(told).toContain('perDeviceTrainBatchSize 1 with gradientAccumulationSteps 4');
    expect(told).not.toContain('optim adafactor');
  });

  test('several together where none suffices alone; none where none does', () => {
    const both = { ...big, tokens: 1_000_000, gradientAccumulationSteps: 4, gradientCheckpointing: true };
    expect(fittingOptions(big, config, limitBelow(both))).toEqual([
      'perDeviceTrainBatchSize 1 with gradientAccumulationSteps 4 and gradientCheckpointing',
    ]);
    expect(fittingOptions(big, config, 1000)).toEqual([]);
  });

  test('near the limit is warned about, beyond it refused', () => {
    const { peak } = memoryNeed(big);
    const told = (bytes: number): string => {
      const result = checkMemory(big, config, { bytes, source: 'here' });
      return result === undefined ? 'nothing' : result.code;
    };
    expect([told(2 * peak), told(1.05 * peak), told(0.9 * peak)]).toEqual(['nothing', 'W_MEMORY', 'E_MEMORY']);
    const none = checkMemory(big, config, { bytes: 1000, source: 'here' });
    expect(none === undefined ? '' : render(none)).toMatch(
      /at most 1 MiB \(here\)[^]*activations [^]*no option makes it fit/,
    );
  });

  test('sizes are told in what people count in', () => {
    expect([gibibytes(1), gibibytes(5 * 2 ** 20), gibibytes(1.5 * 2 ** 30)]).toEqual(['1 MiB', '5 MiB', '1.5 GiB']);
  });
});

describe('what there is', () => {
  const machine = { '/proc/meminfo': 'MemTotal: 16000 kB\nMemFree: 10 kB\nMemAvailable:   8000 kB\n' };
  const from = (files: Readonly<Record<string, string>>, vmStat?: string) =>
    availableMemory(
      (path) => ({ ...machine, ...files })[path],
      () => vmStat,
    );

  test('the machine has what it can give away', () => {
    expect(from({})).toEqual({ bytes: 8000 * 1024, source: 'free on this machine' });
  });

  test('a container allows less, files in its memory left out; the least of nested ones counts', () => {
    const inner = '/sys/fs/cgroup/a/b';
    const files = {
      '/proc/self/cgroup': '0::/a/b\n',
      [`${inner}/memory.max`]: '3000000\n',
      [`${inner}/memory.current`]: '2500000\n',
      [`${inner}/memory.stat`]: 'anon 1\ninactive_file 2000000\n',
    };
    expect(from(files)).toEqual({ bytes: 2_500_000, source: 'left of what the container may use' });
    expect(
      from({ ...files, '/sys/fs/cgroup/a/memory.max': '1000', '/sys/fs/cgroup/a/memory.current': '5000' }).bytes,
    ).toBe(0);
    expect(from({ ...files, [`${inner}/memory.max`]: 'max\n' }).bytes).toBe(8000 * 1024);
  });

  test('the older kind of container is read too', () => {
    const dir = '/sys/fs/cgroup/memory/job';
    const files = {
      '/proc/self/cgroup': '5:cpu:/x\n4:memory:/job\n0::/\n',
      [`${dir}/memory.limit_in_bytes`]: '4000000',
      [`${dir}/memory.usage_in_bytes`]: '1000000',
      '/sys/fs/cgroup/memory/memory.limit_in_bytes': '9223372036854771712',
      '/sys/fs/cgroup/memory/memory.usage_in_bytes': '7',
    };
    expect(from(files).bytes).toBe(3_000_000);
  });

  test('of macOS, what it can hand out at once: not the free pages alone', () => {
    const told = [
      'Mach Virtual Memory Statistics: (page size of 16384 bytes)',
      'Pages free:                                5000.',
      'Pages active:                            300000.',
      'Pages inactive:                          200000.',
      'Pages speculative:                         1000.',
      'Pages throttled:                              0.',
      'Pages wired down:                        100000.',
    ];
    expect(from({}, told.join('\n'))).toEqual({ bytes: 206_000 * 16384, source: 'free on this machine' });
    expect(freeOfVmStat(told.filter((line) => !line.includes('inactive')).join('\n'))).toBeUndefined();
    expect(freeOfVmStat('vm_stat: something else')).toBeUndefined();
  });

  test('some figure is found wherever this runs', () => {
    expect(availableMemory().bytes).toBeGreaterThan(0);
    expect(availableMemory(() => undefined).bytes).toBeGreaterThan(0);
  });
});

describe('a run', () => {
  const rows = Array.from({ length: 8 }, (_, i) => ({
    input_ids: Array.from({ length: 24 }, (__, t) => (7 * i + 3 * t) % 40),
  }));
  const options = { perDeviceTrainBatchSize: 8, maxSteps: 1, maxLength: 24 } as const;
  const needed = (model: CausalLM, more: SftOptions): number =>
    needOf(
      model,
      rows.map(({ input_ids: ids }) => ({ inputIds: Int32Array.from(ids), seqLengths: [ids.length] })),
      configOf({ ...options, ...more }),
    ).peak;
  const outcome = async (model: CausalLM, more: SftOptions): Promise<FatalError | ReadonlyArray<string>> => {
    const run = sftTrainer({ model, trainDataset: rows }, { ...options, ...more });
    const warned: Array<string> = [];
    run.warnings.subscribe(({ code }) => warned.push(code));
    try {
      await lastValueFrom(run);
      return warned;
    } catch (error) {
      if (isFatal(error)) return error;
      throw error;
    }
  };

  test('that would not fit is refused before its first update, and fits with what the refusal names', async () => {
    const model = await tinyModel();
    const maxMemory = (needed(model, {}) - 1) / 2 ** 30;
    const refused = await outcome(model, { maxMemory });
    expect(refused).toMatchObject({ code: 'E_MEMORY', kind: 'run' });
    expect(isFatal(refused) ? render(refused) : '').toContain('gradientCheckpointing');
    expect(await outcome(model, { maxMemory, gradientCheckpointing: true })).toEqual(['W_MEMORY']);
    expect(await outcome(model, { maxMemory: 0 })).toEqual([]);
    disposeModel(model);
  });

  test('is refused before its weights are loaded where they alone are too much', async () => {
    const model = await tinyModel();
    const refused = fitsUnloaded(model.config, configOf({ maxMemory: 0.001 }));
    expect(refused).toMatchObject({ left: { code: 'E_MEMORY' } });
    const available = () => ({ bytes: 1000, source: 'here' });
    expect(fitsUnloaded(model.config, configOf({}), { available })).toMatchObject({ left: { code: 'E_MEMORY' } });
    expect(fitsUnloaded(model.config, configOf({ maxMemory: 0 }), { available })).toMatchObject({ _tag: 'Right' });
    const weights = (more: SftOptions, adapted = false): string => {
      const found = fitsUnloaded(model.config, configOf({ maxMemory: 1e-9, ...more }), { adapted });
      return found._tag === 'Left' ? (/gradients (\d+ \w+)/.exec(render(found.left))?.[1] ?? '') : '';
    };
    expect([weights({}), weights({ r: 2 }), weights({}, true)]).toEqual(['1 MiB', '1 MiB', '0 MiB']);
    disposeModel(model);
  });

  test('the process takes no part of a card', async () => {
    const model = await tinyModel();
    // Less than the process itself takes.
    const available = (onCard: boolean) => () => ({ bytes: 100 * 2 ** 20, source: 'here', onCard });
    const config = configOf({});
    const [onCard, inProcess] = [true, false].map((is) => estimateMemory(model.config, config, 64, available(is)));
    expect(onCard).toMatchObject({ fits: true, need: { process: 0 } });
    expect(inProcess).toMatchObject({ fits: false, need: { process: 128 * 2 ** 20 } });
    // A card cuts its logits otherwise.
    const held = [inProcess, onCard].map((found) => (found?.need.peak ?? 0) - (found?.need.workspace ?? 0));
    expect((held[0] ?? 0) - (held[1] ?? 0)).toBe(128 * 2 ** 20);
    expect(fitsUnloaded(model.config, config, { available: available(true) })).toMatchObject({ _tag: 'Right' });
    expect(fitsUnloaded(model.config, config, { available: available(false) })).toMatchObject({ _tag: 'Left' });
    // What is loaded by then is counted on both sides.
    expect(fitsLoaded(model, [], config, available(true))).toMatchObject({ _tag: 'Right' });
    disposeModel(model);
  });

  test('counts what a quantised checkpoint holds packed, by its own config.json', async () => {
    const model = await tinyModel();
    const bytes = (quantization: unknown): number => {
      const raw = { ...model.config.raw, quantization_config: quantization };
      return needOf({ ...model, config: { ...model.config, raw }, trainable: [] }, [], configOf({ usePeft: true }))
        .weights;
    };
    const linear = Object.entries(model.weights)
      .filter(([name]) => name.includes('_proj'))
      .reduce((sum, [, { size }]) => sum + size, 0);
    const gptq = { quant_method: 'gptq', bits: 4, group_size: 32, sym: true, desc_act: false };
    const whole = bytes(undefined);
    expect(bytes(gptq)).toBe(whole - linear * (4 - 0.5 - 4 / 32));
    expect(bytes({ ...gptq, bits: 8, group_size: -1 })).toBe(whole - linear * 3);
    expect(bytes({ load_in_8bit: true })).toBe(whole - linear * 3);
    // Held as numbers.
    expect([{ desc_act: true }, { sym: false }, { bits: 8 }].map((how) => bytes({ ...gptq, ...how }))).toEqual(
      Array(3).fill(whole),
    );
    disposeModel(model);
  });
});
