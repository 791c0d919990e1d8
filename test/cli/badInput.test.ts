/** What a person gets who hands over something broken: a message with place and code, an exit code, and nothing half-written. */
import { describe, expect, test } from '@jest/globals';
import { chmod, cp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { runCommandLine } from '../../src/cli/command.js';
import { commands } from '../../src/cli/commands.js';
import { base, inTemporary, rxtune, type Outcome } from './rxtune.js';

const good = [
  { prompt: 'one red mug', completion: ' = 1 x mug' },
  { prompt: 'two blue jars', completion: ' = 2 x jar' },
].map((row) => JSON.stringify(row));

/** Trains one step on the given files; tells the outcome and what lies in the output directory afterwards. */
const train = (
  rows: string | Uint8Array,
  {
    name = 'rows.jsonl',
    model = base,
    flags = [],
  }: { name?: string; model?: string; flags?: ReadonlyArray<string> } = {},
): Promise<Outcome & { readonly left: ReadonlyArray<string> }> =>
  inTemporary(async (directory) => {
    const file = join(directory, name);
    const outputDir = join(directory, 'out');
    await writeFile(file, rows);
    const outcome = await rxtune(
      ...['sft', '--model', model, '--train-dataset', file, '--output-dir', outputDir, '--max-length', '64'],
      ...['--max-steps', '1', '--per-device-train-batch-size', '2', '--save-strategy', 'no', ...flags],
    );
    return { ...outcome, left: (await readdir(outputDir).catch(() => [])).sort() };
  });

/** The quick start's model with one of its files changed. */
const withModel = <A>(
  change: (directory: string) => Promise<void>,
  use: (directory: string) => Promise<A>,
): Promise<A> =>
  inTemporary(async (directory) => {
    const model = join(directory, 'model');
    await cp(base, model, { recursive: true });
    await change(model);
    return use(model);
  });

const trained = ['config.json', 'log.jsonl', 'model.safetensors', 'tokenizer.json', 'tokenizer_config.json'];

/** No stack, no bare exception name, a code in brackets. */
const expectTyped = ({ err }: Outcome, code: string): void => {
  expect(err).toContain(`[${code}]`);
  expect(err).not.toMatch(/\n\s+at .*\(?.*:\d+:\d+\)?/);
  expect(err).not.toContain('E_BUG');
};

/** The same commands within this process: enough where the call is refused before anything is loaded. */
const called = async (...argv: ReadonlyArray<string>): Promise<Outcome> => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  const code = await runCommandLine(commands, { version: '0', argv, terminal: { out, err } });
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
};

describe('rows', () => {
  test('good rows train, so that the cases below fail for their own reason', async () => {
    const outcome = await train(good.join('\n'));
    expect(outcome.err).toContain('done: 1 step in');
    expect(outcome.code).toBe(0);
    expect(outcome.left).toEqual(expect.arrayContaining(trained));
  });

  test.each([
    ['a line cut short', [...good, good[0]?.slice(0, 20)].join('\n'), 'E_INVALID_JSON', 3],
    ['a field of the wrong type', [...good, '{"prompt": "one", "completion": 1}'].join('\n'), 'E_FIELD_TYPE', 3],
    [
      'nothing to train',
      [good[0], '', '{"input_ids": [5, 6], "labels": [-100, -100]}', good[1]].join('\n'),
      'E_NO_LABELS',
      3,
    ],
    ['a missing column', [good[0], '{"prompt": "one"}', good[1]].join('\n'), 'E_NO_TEXT_SOURCE', 2],
    [
      'bytes that are no UTF-8',
      Buffer.concat([Buffer.from(`${good.join('\n')}\n{"text": "`), Buffer.from([0xff, 0xfe]), Buffer.from('"}\n')]),
      'E_NOT_UTF8',
      3,
    ],
  ])('%s: the row is refused with its place and counted, the rest trains', async (_, rows, code, line) => {
    const outcome = await train(rows);
    expect(outcome.err).toMatch(new RegExp(`rejected: \\S*rows\\.jsonl:${line}\\b[^]*\\[${code}\\]`));
    expect(outcome.err).toContain('rows: 2 from 3 read, 1 refused');
    expect(outcome.code).toBe(0);
  });

  test('too many refused rows end the run', async () => {
    const strict = await train([...good, '{"prompt": "one"}'].join('\n'), { flags: ['--max-reject-rate', '0.3'] });
    expectTyped(strict, 'E_TOO_MANY_REJECTED');
    expect(strict).toMatchObject({ code: 1, left: ['error.json'] });
  });

  test.each([
    ['an empty file', '', 'E_EMPTY_DATASET'],
    ['a file of blank lines', '\n\n\n', 'E_EMPTY_DATASET'],
  ])('%s', async (_, rows, code) => {
    const outcome = await train(rows);
    expectTyped(outcome, code);
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });

  test('a file that is not there, and a kind of file that cannot be read', async () => {
    const missing = await rxtune('sft', '--model', base, '--train-dataset', 'no-such-file.jsonl');
    expectTyped(missing, 'E_NO_FILE');
    expect(missing.code).toBe(2);
    const unknown = await train('x', { name: 'rows.xyz' });
    expectTyped(unknown, 'E_UNKNOWN_FORMAT');
    expect(unknown).toMatchObject({ code: 2, left: [] });
  });

  test('a response template that never matches', async () => {
    const outcome = await train(good.join('\n'), { flags: ['--response-template', '### Answer:'] });
    expectTyped(outcome, 'E_NO_ROWS');
    expect(outcome.err).toContain('W_RESPONSE_NOT_FOUND');
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });
});

describe('weights', () => {
  type Header = Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  /** Rewrites the header of model.safetensors. */
  const reheaded = (change: (header: Header) => Readonly<Record<string, unknown>>) => async (model: string) => {
    const file = join(model, 'model.safetensors');
    const bytes = await readFile(file);
    const length = Number(bytes.readBigUInt64LE(0));
    const text = Buffer.from(JSON.stringify(change(JSON.parse(bytes.toString('utf8', 8, 8 + length)) as Header)));
    const size = Buffer.alloc(8);
    size.writeBigUInt64LE(BigInt(text.length));
    await writeFile(file, Buffer.concat([size, text, bytes.subarray(8 + length)]));
  };
  /** The same for the entry of one tensor. */
  const withEntry = (fields: (header: Header) => Readonly<Record<string, unknown>>) =>
    reheaded((header) => ({ ...header, [norm]: { ...header[norm], ...fields(header) } }));
  const norm = 'model.norm.weight';
  const withLength = (length: bigint) => async (model: string) => {
    const file = join(model, 'model.safetensors');
    const bytes = await readFile(file);
    bytes.writeBigUInt64LE(length, 0);
    await writeFile(file, bytes);
  };

  test.each<readonly [string, (model: string) => Promise<void>]>([
    ['a header longer than the file', withLength(10_000_000n)],
    ['a header of 2^63 bytes', withLength(1n << 63n)],
    ['a header of no bytes', withLength(0n)],
    ['a tensor that reaches beyond the file', withEntry(() => ({ data_offsets: [1 << 30, (1 << 30) + 256] }))],
    [
      'overlapping tensors',
      withEntry((header) => ({ data_offsets: header['model.layers.0.input_layernorm.weight']?.['data_offsets'] })),
    ],
    ['a negative offset', withEntry(() => ({ data_offsets: [-256, 0] }))],
    ['a shape that its bytes cannot hold', withEntry(() => ({ shape: [1 << 30, 1 << 30] }))],
    ['a negative shape', withEntry(() => ({ shape: [-64] }))],
    [
      'a file cut short',
      async (model) => {
        const file = join(model, 'model.safetensors');
        await writeFile(file, (await readFile(file)).subarray(0, 5000));
      },
    ],
  ])('%s', async (_, change) => {
    const outcome = await withModel(change, (model) => train(good.join('\n'), { model }));
    expectTyped(outcome, /E_SAFETENSORS_\w+/.exec(outcome.err)?.[0] ?? 'E_SAFETENSORS_…');
    expect(outcome.err).toContain('model.safetensors');
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });

  test('a missing shard', async () => {
    const outcome = await withModel(
      async (model) => {
        const index = {
          weight_map: { [norm]: 'model-00001-of-00002.safetensors', other: 'model-00002-of-00002.safetensors' },
        };
        await writeFile(join(model, 'model.safetensors.index.json'), JSON.stringify(index));
        await cp(join(model, 'model.safetensors'), join(model, 'model-00001-of-00002.safetensors'));
        await rm(join(model, 'model.safetensors'));
      },
      (model) => train(good.join('\n'), { model }),
    );
    expectTyped(outcome, 'E_MISSING_SHARD');
    expect(outcome.err).toContain('without model-00002-of-00002.safetensors');
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });

  test('a tensor that is missing is named', async () => {
    const outcome = await withModel(
      reheaded(({ [norm]: entry, ...header }) => ({ ...header, 'model.norm.wheight': entry })),
      (model) => train(good.join('\n'), { model }),
    );
    expect(outcome.err).toContain(norm);
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });
});

describe('configuration', () => {
  const edited =
    (file: string, change: (json: Record<string, unknown>) => Record<string, unknown>) => async (model: string) => {
      const path = join(model, file);
      await writeFile(
        path,
        JSON.stringify(change(JSON.parse(await readFile(path, 'utf8')) as Record<string, unknown>)),
      );
    };

  test('an architecture that is not known', async () => {
    const outcome = await withModel(
      edited('config.json', (config) => ({ ...config, model_type: 'lama' })),
      (model) => train(good.join('\n'), { model }),
    );
    expect(outcome.err).toContain('lama');
    expect(outcome.err).toContain('llama');
    expect(outcome.err).toMatch(/\[E_\w+\]/);
    expect(outcome.code).toBe(1);
    expect(outcome.left).toEqual(['error.json']);
  });

  test('a tokenizer with more tokens than the model has rows for', async () => {
    const outcome = await withModel(
      edited('config.json', (config) => ({ ...config, vocab_size: 300 })),
      (model) => train(good.join('\n'), { model }),
    );
    expectTyped(outcome, 'E_VOCAB_MISMATCH');
    expect(outcome).toMatchObject({ code: 1, left: ['error.json'] });
  });

  test('a directory without a model', async () => {
    const outcome = await inTemporary((model) => train(good.join('\n'), { model }));
    expect(outcome.err).toMatch(/\[E_\w+\]/);
    expect(outcome.code).toBe(2);
    expect(outcome.left).toEqual(['error.json']);
  });
});

describe('the call', () => {
  test('an output directory that cannot be written is told before training', async () => {
    const outcome = await inTemporary(async (directory) => {
      const file = join(directory, 'file');
      await writeFile(file, 'a file, not a directory');
      await writeFile(join(directory, 'rows.jsonl'), good.join('\n'));
      await chmod(file, 0o400);
      return rxtune(
        'sft',
        '--model',
        base,
        '--train-dataset',
        join(directory, 'rows.jsonl'),
        '--output-dir',
        join(file, 'out'),
      );
    });
    expectTyped(outcome, 'E_OUTPUT_DIR');
    expect(outcome.err).not.toContain('step 1/');
    expect(outcome.code).toBe(1);
  });

  test('a conversation for a tokenizer without a template is told with what else can be asked', async () => {
    const outcome = await withModel(
      (model) => rm(join(model, 'tokenizer_config.json')),
      (model) => rxtune('generate', '--model', model, '--messages', '[{"role": "user", "content": "Two red mugs."}]'),
    );
    expectTyped(outcome, 'E_NO_CHAT_TEMPLATE');
    expect(outcome.err).toContain('give the text itself with --prompt');
  });

  test('a misspelt option in a file of options is refused with its line', async () => {
    const outcome = await inTemporary(async (directory) => {
      const file = join(directory, 'run.yaml');
      await writeFile(file, 'train_dataset: rows.jsonl\nmax_stesp: 3\n');
      return called('sft', '--model', base, '--config', file);
    });
    expect(outcome.err).toMatch(
      /run\.yaml:2, field "max_stesp": unknown option "max_stesp" \[E_OPTIONS\]\n {2}try: {6}did you mean "max_steps"\?/,
    );
    expect(outcome.code).toBe(2);
  });

  test.each([
    [['--lerning-rate', '1'], 'did you mean --learning-rate?'],
    [['--learning_rate', '1'], 'did you mean --learning-rate?'],
    [['--max-setps=3'], 'did you mean --max-steps?'],
    [['--out', 'dir'], 'did you mean --output-dir?'],
    [['--learning-rate', 'fast'], 'rxtune: wrong value for --learning-rate [E_OPTIONS]'],
    [['--packing-strategy', 'best'], 'one of bfd, bfd_split, wrapped'],
    [['--lora-r', '0'], 'rxtune: wrong value for --lora-r [E_OPTIONS]'],
    [['--fp16'], 'use precision: bfloat16'],
    [['--config', 'no-such.yaml'], 'no-such.yaml'],
  ])('%j', async (flags, told) => {
    const outcome = await called('sft', '--model', base, '--train-dataset', 'rows.jsonl', ...flags);
    expect(outcome.err).toContain(told);
    expect(outcome).toMatchObject({ code: 2, out: '' });
  });
});
