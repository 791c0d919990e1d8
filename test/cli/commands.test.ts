/** What other software may rely on: the commands' files, columns, numbers and exit codes. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { sharedPath } from '../shared.js';
import { base, built, inTemporary, root, rxtune, start } from './rxtune.js';
import type { MemoryEstimate } from '../../src/train/memory/fitMemory.js';

const shop = join(root, 'examples', 'quickstart');
const linesOf = (text: string): ReadonlyArray<Readonly<Record<string, unknown>>> =>
  text
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Readonly<Record<string, unknown>>);
const jsonl = (rows: ReadonlyArray<unknown>): string => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

const sft = ['sft', '--model', base, '--train-dataset', join(shop, 'train.jsonl'), '--assistant-only-loss'];
const small = ['--max-length', '256', '--per-device-train-batch-size', '4', '--learning-rate', '1e-3'];

/** The same promise to all who ask. */
const once = <A>(make: () => Promise<A>): (() => Promise<A>) => {
  let made: Promise<A> | undefined;
  return () => (made ??= make());
};

beforeAll(() => void built());

describe('sft', () => {
  test('leaves the model, the tokenizer and a log with one object a step', () =>
    inTemporary(async (directory) => {
      const outcome = await rxtune(...sft, ...small, '--max-steps', '3', '--output-dir', directory);
      expect(outcome).toMatchObject({ code: 0, out: '' });
      expect(readdirSync(directory).sort()).toEqual(
        expect.arrayContaining([
          'config.json',
          'log.jsonl',
          'model.safetensors',
          'tokenizer.json',
          'tokenizer_config.json',
        ]),
      );
      const log = linesOf(await readFile(join(directory, 'log.jsonl'), 'utf8'));
      expect(log.map(({ step }) => step)).toEqual([1, 2, 3]);
      for (const row of log) {
        expect(Object.keys(row)).toEqual(
          expect.arrayContaining(['epoch', 'loss', 'grad_norm', 'learning_rate', 'num_tokens', 'mean_token_accuracy']),
        );
      }
      expect(log[0]).toMatchObject({ learning_rate: 1e-3 });
      expect(outcome.err).toMatch(/engine: \w+/);
      expect(outcome.err).toMatch(/step 3\/3 {2}loss \d\.\d{4} {2}\d+ tokens\/s {2}0 s left/);
    }));

  test('an option comes from a flag, else from the file of options, else it has its default', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'run.yaml');
      await writeFile(file, 'max_steps: 9\nlearning_rate: 5e-4\nlora_r: 4\nlr_scheduler_type: constant\n');
      const outcome = await rxtune(
        ...[
          ...sft,
          '--config',
          file,
          '--max-steps',
          '2',
          '--max-length',
          '256',
          '--output-dir',
          join(directory, 'out'),
        ],
      );
      expect(outcome.code).toBe(0);
      const log = linesOf(await readFile(join(directory, 'out', 'log.jsonl'), 'utf8'));
      expect(log.map(({ learning_rate: rate }) => rate)).toEqual([5e-4, 5e-4]);
      expect(JSON.parse(await readFile(join(directory, 'out', 'adapter_config.json'), 'utf8'))).toMatchObject({
        r: 4,
        lora_alpha: 8,
        base_model_name_or_path: base,
      });
    }));

  const forty = [...sft, ...small, '--max-steps', '40', '--lora-r', '4'];
  const weights = 'adapter_model.safetensors';
  /** What the run of forty steps leaves when nothing stops it. */
  const uninterrupted = once(() =>
    inTemporary(async (directory) => {
      await rxtune(...forty, '--output-dir', directory);
      return {
        log: await readFile(join(directory, 'log.jsonl'), 'utf8'),
        weights: await readFile(join(directory, weights)),
      };
    }),
  );

  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)(
    '%s: a checkpoint, nothing half-written, and the run goes on from there',
    (signal) =>
      inTemporary(async (directory) => {
        const call = [...forty, '--output-dir', directory];
        const page = join(directory, 'page', 'report.html');
        let asked = false;
        const stopped = await start([...call, '--report', page], (child, err) => {
          if (asked || !/^step \d+\//m.test(err)) return;
          asked = true;
          child.kill(signal);
        });
        expect(stopped.code).toBe(1);
        expect(stopped.err).toContain('[E_INTERRUPTED]');
        expect(stopped.err).toContain('--resume-from-checkpoint true');
        const left = readdirSync(directory).sort();
        expect(left).toEqual([expect.stringMatching(/^checkpoint-\d+$/), 'log.jsonl', 'page']);
        const at = Number(left[0]?.replace('checkpoint-', ''));
        expect(readdirSync(join(directory, 'page'))).toEqual(['report.html']);
        expect(await readFile(page, 'utf8')).toContain(`["ended","left to be resumed after step ${at} of 40"]`);
        expect(at).toBeLessThan(40);

        const resumed = await rxtune(...call, '--resume-from-checkpoint', 'true');
        expect(resumed.err).toContain(`going on after ${at}`);
        expect(resumed.code).toBe(0);
        const log = linesOf(await readFile(join(directory, 'log.jsonl'), 'utf8'));
        expect(log.map(({ step }) => step)).toEqual(Array.from({ length: 40 }, (_, i) => i + 1));

        const whole = await uninterrupted();
        expect(await readFile(join(directory, 'log.jsonl'), 'utf8')).toBe(whole.log);
        expect((await readFile(join(directory, weights))).equals(whole.weights)).toBe(true);
      }),
  );

  test('a run that fails leaves its report, which says why and after which step', () =>
    inTemporary(async (directory) => {
      const page = join(directory, 'report.html');
      const failed = await rxtune(...sft, ...small, '--max-steps', '9', '--learning-rate', '1e30', '--report', page);
      expect(failed).toMatchObject({ code: 1, err: expect.stringContaining('[E_NON_FINITE]') });
      expect(readdirSync(directory)).toEqual(['report.html']);
      const text = await readFile(page, 'utf8');
      expect(text).toContain('"state":"failed"');
      expect(text).toMatch(/\["ended","failed after step [1-8] of 9"\]/);
      expect(text).toMatch(/"warnings":\[.*\[E_NON_FINITE\]/);
    }));

  test('rows to evaluate on are told where nothing says when; a directory of checkpoints is no checkpoint', () =>
    inTemporary(async (directory) => {
      const short = [...sft, ...small, '--max-steps', '1', '--save-steps', '1', '--output-dir', directory];
      const first = await rxtune(...short, '--eval-dataset', join(shop, 'heldout.jsonl'));
      expect(first).toMatchObject({ code: 0, err: expect.stringContaining('[W_EVAL_NEVER]') });
      const wrong = await rxtune(...short, '--resume-from-checkpoint', directory);
      expect(wrong).toMatchObject({ code: 1, err: expect.stringContaining('[E_NO_CHECKPOINT]') });
      // Without a value it is true; there is no update left.
      const again = await rxtune(...short, '--resume-from-checkpoint');
      expect(again).toMatchObject({ code: 0, err: expect.stringContaining('steps: 1, going on after 1') });
    }));
});

test('the chat template of a call is what inspect shows and evaluate measures by', () =>
  inTemporary(async (directory) => {
    const template = join(directory, 'template.jinja');
    await writeFile(template, '{% for m in messages %}<<{{ m.content }}>>{% endfor %}');
    const heldout = join(shop, 'heldout.jsonl');
    const asked = ['--chat-template', template];
    const shown = await rxtune('inspect', '--model', base, '--train-dataset', heldout, '--rows', '1', ...asked);
    expect(shown.out).toContain('<<');
    const evaluation = ['evaluate', '--model', base, '--eval-dataset', heldout];
    const [own, other] = [await rxtune(...evaluation), await rxtune(...evaluation, ...asked)];
    expect(other.code).toBe(0);
    expect(linesOf(other.out)[0]?.['num_tokens']).not.toBe(linesOf(own.out)[0]?.['num_tokens']);
  }));

describe('prepare', () => {
  test('columns are aligned, only the assistant is trained, the summary counts', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'prepared.jsonl');
      const outcome = await rxtune(
        ...[
          'prepare',
          '--tokenizer',
          base,
          '--train-dataset',
          join(shop, 'heldout.jsonl'),
          '--assistant-only-loss',
          '--out',
          out,
        ],
      );
      expect(outcome).toMatchObject({ code: 0, out: '' });
      const rows = linesOf(await readFile(out, 'utf8')) as unknown as ReadonlyArray<
        Readonly<Record<string, ReadonlyArray<number>>>
      >;
      expect(rows).toHaveLength(60);
      let trained = 0;
      for (const { input_ids: ids = [], labels = [], attention_mask: mask, position_ids: positions } of rows) {
        expect(labels).toHaveLength(ids.length);
        expect(mask).toEqual(ids.map(() => 1));
        expect(positions).toEqual(ids.map((_, t) => t));
        expect(labels.every((label, t) => label === -100 || label === ids[t])).toBe(true);
        trained += labels.filter((label) => label !== -100).length;
      }
      expect(outcome.err).toContain('rows read: 60\nrejected: 0\ntruncated: 0\nfully masked: 0\nrows prepared: 60\n');
      expect(outcome.err).toContain(`trained tokens: ${trained}\n`);
    }));

  test('rows that hold input_ids are taken as they are, in their order, without a tokenizer', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'rows.jsonl');
      const rows = [
        { input_ids: [5, 6, 7], labels: [-100, 6, 7] },
        { input_ids: [9, 9], attention_mask: [1, 1] },
        { input_ids: [4, 3, 0, 0], labels: [4, 3, -100, -100], attention_mask: [1, 1, 0, 0] },
      ];
      await writeFile(file, jsonl(rows));
      const { code, out } = await rxtune('prepare', '--train-dataset', file);
      expect(code).toBe(0);
      expect(linesOf(out)).toEqual([
        { input_ids: [5, 6, 7], labels: [-100, 6, 7], attention_mask: [1, 1, 1], position_ids: [0, 1, 2] },
        { input_ids: [9, 9], labels: [9, 9], attention_mask: [1, 1], position_ids: [0, 1] },
        { input_ids: [4, 3], labels: [4, 3], attention_mask: [1, 1], position_ids: [0, 1] },
      ]);
    }));

  test('packed rows tell their documents by positions, and no first token of one is trained', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'rows.jsonl');
      await writeFile(file, jsonl([{ input_ids: [1, 2, 3] }, { input_ids: [4, 5] }, { input_ids: [6, 7, 8, 9] }]));
      const { out, err } = await rxtune('prepare', '--train-dataset', file, '--packing', '--max-length', '5');
      expect(linesOf(out)).toEqual([
        { input_ids: [6, 7, 8, 9], labels: [6, 7, 8, 9], attention_mask: [1, 1, 1, 1], position_ids: [0, 1, 2, 3] },
        {
          input_ids: [1, 2, 3, 4, 5],
          labels: [-100, 2, 3, -100, 5],
          attention_mask: [1, 1, 1, 1, 1],
          position_ids: [0, 1, 2, 0, 1],
        },
      ]);
      expect(err).toContain('packing efficiency: 0.9000\n');
      // Prepared rows prepared again are what they were: positions keep the documents apart.
      const again = join(directory, 'again.jsonl');
      await writeFile(again, out);
      expect((await rxtune('prepare', '--train-dataset', again)).out).toBe(out);
    }));

  test('text without a tokenizer is refused, and nothing is written', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'prepared.jsonl');
      const outcome = await rxtune('prepare', '--train-dataset', join(shop, 'heldout.jsonl'), '--out', out);
      expect(outcome.err).toContain('[E_NO_ROWS]\n  try:      give --tokenizer DIR');
      expect(outcome.code).toBe(1);
      expect(readdirSync(directory)).toEqual([]);
    }));
});

describe('generate and evaluate', () => {
  test('a text is continued', async () => {
    const letter = '<|im_start|>letter\nOn Sunday I will come for two grey shelves. Thank you, June<|im_end|>\n';
    expect(await rxtune('generate', '--model', base, '--prompt', `${letter}<|im_start|>ledger\n`)).toMatchObject({
      code: 0,
      out: 'June: 2 x shelf, grey, Sunday\n',
    });
  });

  test('a conversation is answered, with the adapter that training left', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'out');
      const messages = join(directory, 'messages.json');
      await writeFile(
        messages,
        JSON.stringify([{ role: 'user', content: 'Please send me two grey shelves on Sunday.' }]),
      );
      const call = [
        '--max-steps',
        '150',
        '--per-device-train-batch-size',
        '16',
        '--learning-rate',
        '1e-2',
        '--lora-r',
        '16',
      ];
      const flags = [
        '--max-length',
        '256',
        '--lora-target-modules',
        'all-linear',
        '--lora-alpha',
        '32',
        '--output-dir',
        out,
      ];
      expect((await rxtune(...sft, ...call, ...flags)).code).toBe(0);
      const adapted = ['--model', base, '--adapter', out];
      expect(await rxtune('generate', ...adapted, '--messages', messages)).toMatchObject({
        code: 0,
        out: '{"item": "shelf", "colour": "grey", "count": 2, "day": "Sunday"}\n',
      });

      expect(await rxtune('generate', ...adapted, '--messages', await readFile(messages, 'utf8'))).toMatchObject({
        code: 0,
        out: '{"item": "shelf", "colour": "grey", "count": 2, "day": "Sunday"}\n',
      });

      const perRow = join(directory, 'rows.jsonl');
      const heldout = ['--eval-dataset', join(shop, 'heldout.jsonl'), '--assistant-only-loss', '--per-row', perRow];
      const [before, after] = [
        await rxtune('evaluate', '--model', base, ...heldout),
        await rxtune('evaluate', ...adapted, ...heldout),
      ].map(({ out: text }) => JSON.parse(text) as Readonly<Record<string, number>>);
      expect(after?.['loss']).toBeLessThan((before?.['loss'] ?? 0) / 10);
      expect(after?.['mean_token_accuracy']).toBeGreaterThan(0.98);
      expect(after?.['perplexity']).toBeCloseTo(Math.exp(after?.['loss'] ?? 0), 10);
      const rows = linesOf(await readFile(perRow, 'utf8')) as ReadonlyArray<{ loss: number; num_tokens: number }>;
      expect(rows).toHaveLength(60);
      const tokens = rows.reduce((sum, row) => sum + row.num_tokens, 0);
      expect(tokens).toBe(after?.['num_tokens']);
      expect(rows.reduce((sum, row) => sum + row.loss * row.num_tokens, 0) / tokens).toBeCloseTo(
        after?.['loss'] ?? 0,
        5,
      );
    }));

  test('a text that ends before it begins is told of', async () => {
    const stopped = await rxtune(
      'generate',
      '--model',
      base,
      '--prompt',
      '<|im_start|>ledger\nMay: 1 x mug, red, Friday',
    );
    expect(stopped).toMatchObject({ code: 0, out: '\n' });
    expect(stopped.err).toContain(
      'nothing was written [W_NOTHING_WRITTEN]\n  try:      a model that learned conversations',
    );
  });

  test('JSON on the command line that is broken is told with its place', async () => {
    expect(await rxtune('generate', '--model', base, '--messages', '[{"role": "user"')).toMatchObject({
      code: 2,
      err: expect.stringContaining('--messages:1: not JSON: '),
    });
  });

  test('a call that asks for nothing, or for two things, is wrong', async () => {
    expect(await rxtune('generate', '--model', base)).toMatchObject({ code: 2, out: '' });
    expect(await rxtune('generate', '--model', base, '--prompt', 'a', '--messages', 'b')).toMatchObject({
      code: 2,
      out: '',
    });
  });
});

test('inspect marks what is trained', async () => {
  const flags = ['--train-dataset', join(shop, 'heldout.jsonl'), '--assistant-only-loss', '--rows', '1'];
  const { code, out } = await rxtune('inspect', '--tokenizer', base, ...flags);
  expect(code).toBe(0);
  expect(out).toMatch(/^ {2}columns messages; taken for messages by "messages"$/m);
  expect(out).toMatch(/heldout\.jsonl:1: (\d+) of (\d+) tokens trained\n/);
  expect(out).toMatch(/\npasses\n$/);
  expect(out).toContain(
    '<|im_start|>assistant\n⟦{"item": "mug", "colour": "brown", "count": 1, "day": "Thursday"}<|im_end|>⟧\n',
  );
});

test('inspect writes its report as a page and as JSON; strict refuses, naming checks and rows', () =>
  inTemporary(async (directory) => {
    const [rows, page] = [join(directory, 'rows.jsonl'), join(directory, 'report.html')];
    const good = {
      messages: [
        { role: 'user', content: 'Two mugs?' },
        { role: 'assistant', content: 'Yes.' },
      ],
    };
    const lines = [good, { nothing: 'known' }, { messages: [{ role: 'user', content: '<script>' }] }, good];
    await writeFile(rows, jsonl(lines));
    const flags = ['--train-dataset', rows, '--assistant-only-loss', '--max-length', '64'];
    const shown = await rxtune('inspect', '--tokenizer', base, ...flags, '--json', '--html', page);
    expect(shown.code).toBe(0);
    const report = JSON.parse(shown.out) as Record<string, unknown>;
    expect(report).toMatchObject({
      rowsRead: 4,
      rows: 2,
      passed: false,
      formats: { messages: 3, none: 1 },
      checks: [
        { name: 'refused', rows: 1, share: 0.25, examples: [{ file: rows, line: 2 }] },
        { name: 'fullyMasked', rows: 1, examples: [{ line: 3 }] },
        { name: 'stopNotTrained', rows: 0 },
        { name: 'doubledBos', rows: 0 },
        { name: 'promptDiffers', rows: 0 },
        { name: 'unshown', rows: 0 },
        { name: 'emptyAnswer', rows: 0 },
        { name: 'truncated', rows: 0 },
      ],
    });
    const html = await readFile(page, 'utf8');
    expect(html).toContain('Not fit to train on');
    expect(html).not.toContain('<script>');
    const refused = await rxtune('sft', '--model', base, ...flags, '--strict', '--max-steps', '1');
    expect(refused.code).toBe(1);
    expect(refused.err).toContain('[E_PREFLIGHT]');
    expect(refused.err).toContain(`refused: 1 of 4 rows refused (25 %, at most 0 %): ${rows}:2`);
    expect(refused.err).toContain(`fullyMasked: 1 of 4 rows without a token to train (25 %, at most 0 %): ${rows}:3`);
    expect((await rxtune('inspect', '--tokenizer', base, ...flags, '--strict')).code).toBe(1);
  }));

test('inspect tells the memory that a run would need, and what would fit', async () => {
  const flags = ['--train-dataset', join(shop, 'heldout.jsonl'), '--assistant-only-loss', '--rows', '1'];
  const { code, out } = await rxtune('inspect', '--model', base, ...flags);
  expect(code).toBe(0);
  expect(out).toMatch(
    /\nMemory\n( {2}\w+ +[\d.]+ [MG]iB\n){6} {2}at the worst instant +[\d.]+ [MG]iB, with [\d,]+ tokens in/,
  );
  expect(out).toMatch(/\n {2}there is +[\d.]+ [MG]iB \(.+\)\n {2}the run +fits\n/);
  // A batch of long windows in little memory: everything is told as numbers, and what would help in words.
  const large = [
    ...flags,
    '--max-memory',
    '0.2',
    '--packing',
    '--max-length',
    '1024',
    '--per-device-train-batch-size',
    '64',
  ];
  const refused = await rxtune('inspect', '--model', base, ...large, '--json');
  const { memory } = JSON.parse(refused.out) as { readonly memory: MemoryEstimate };
  expect(memory).toMatchObject({ tokens: 64 * 1024, available: 0.2 * 2 ** 30, source: 'maxMemory', fits: false });
  expect(memory.need.peak).toBeGreaterThan(memory.available);
  expect(memory.options).toContain('perDeviceTrainBatchSize 1 with gradientAccumulationSteps 64');
  // In the words of this command line.
  const told = (await rxtune('inspect', '--model', base, ...large)).out;
  expect(told).toContain(
    'does not fit; it would with --per-device-train-batch-size 1 with --gradient-accumulation-steps 64',
  );
  expect(told).toContain('(--max-memory)');
  expect(told).toContain('cut to --max-length: ');
  // Without a model there is nothing to estimate.
  expect((await rxtune('inspect', '--tokenizer', base, ...flags)).out).not.toContain('\nMemory\n');
});

test('inspect tells what of a config.json training leaves out', () =>
  inTemporary(async (model) => {
    const config = JSON.parse(await readFile(join(base, 'config.json'), 'utf8')) as object;
    await writeFile(join(model, 'config.json'), JSON.stringify({ ...config, attention_dropout: 0.1 }));
    const rows = join(model, 'rows.jsonl');
    await writeFile(rows, jsonl([{ input_ids: [5, 6, 7] }]));
    const { code, err } = await rxtune('inspect', '--model', model, '--tokenizer', base, '--train-dataset', rows);
    expect({ code, told: err.includes('[W_ATTENTION_DROPOUT]') }).toEqual({ code: 0, told: true });
  }));

test('inspect measures what attention across documents would cost', async () => {
  const flags = ['--train-dataset', join(shop, 'heldout.jsonl'), '--assistant-only-loss', '--rows', '1', '--json'];
  const { code, out } = await rxtune('inspect', '--model', base, ...flags, '--contamination', '12');
  expect(code).toBe(0);
  const { contamination: cost } = JSON.parse(out) as {
    readonly contamination: Readonly<Record<'separate' | 'joined' | 'difference' | 'documents', number>>;
  };
  expect(cost.documents).toBe(12);
  expect(cost.difference).toBeCloseTo(cost.joined - cost.separate, 12);
  expect(await rxtune('inspect', '--tokenizer', base, ...flags, '--contamination', '12')).toMatchObject({ code: 2 });
});

test('a merged model says what its adapter said, and holds no adapter; the report is one page', () =>
  inTemporary(async (directory) => {
    const [out, merged, page] = ['out', 'merged', 'report.html'].map((name) => join(directory, name)) as [
      string,
      string,
      string,
    ];
    const flags = [
      '--max-steps',
      '15',
      '--lora-r',
      '4',
      '--learning-rate',
      '1e-2',
      '--report',
      page,
      '--eval-steps',
      '5',
    ];
    const data = ['--eval-dataset', join(shop, 'heldout.jsonl'), '--max-length', '256', '--output-dir', out];
    expect((await rxtune(...sft, ...flags, ...data)).code).toBe(0);
    expect((await rxtune('merge', '--model', base, '--adapter', out, '--output-dir', merged)).code).toBe(0);
    const heldout = ['--eval-dataset', join(shop, 'heldout.jsonl'), '--assistant-only-loss'];
    const [adapted, plain, before] = [
      await rxtune('evaluate', '--model', base, '--adapter', out, ...heldout),
      await rxtune('evaluate', '--model', merged, ...heldout),
      await rxtune('evaluate', '--model', base, ...heldout),
    ].map(({ out: text }) => (JSON.parse(text) as { readonly loss: number }).loss);
    expect(plain).toBeCloseTo(adapted ?? 0, 4);
    expect(plain).toBeLessThan((before ?? 0) - 0.5);
    const size = (dir: string): number => readFileSync(join(dir, 'model.safetensors')).length;
    expect(Math.abs(size(merged) - size(base))).toBeLessThan(4096);
    const html = await readFile(page, 'utf8');
    const drawn = JSON.parse(/id="run">(.*?)<\/script>/s.exec(html)?.[1] ?? '') as {
      readonly state: string;
      readonly steps: { readonly loss: ReadonlyArray<number> };
      readonly evaluations: ReadonlyArray<{ readonly loss: number }>;
      readonly rows: ReadonlyArray<ReadonlyArray<{ readonly trained: boolean }>>;
    };
    expect(drawn.state).toBe('finished');
    expect(drawn.steps.loss.every((loss) => loss > 0)).toBe(true);
    expect(drawn.evaluations.length).toBeGreaterThan(0);
    expect(drawn.rows.every((tokens) => tokens.some(({ trained }) => trained))).toBe(true);
  }));

test('doctor names engines, the one chosen, compiler and node', async () => {
  const { code, out } = await rxtune('doctor');
  expect(code).toBe(0);
  for (const name of ['native', 'tensorflow', 'wasm', 'cpu', 'chosen', 'compiler', process.version])
    expect(out).toContain(name);
  if (out.includes('+ native')) {
    expect(out).toMatch(/instructions +\S.*\n +threads +\d+ of \d+\n +bfloat16 +\S/);
    expect((await rxtune('doctor', '--threads', '1')).out).toMatch(/threads +1 of/);
  } else expect(out).toMatch(/missing +.*\n?.*the native engine: .*native\/build\.mjs/);
  expect((await rxtune('doctor', '--engine', 'cpu')).out).toMatch(/chosen +cpu .*as asked/);
});

const weights = sharedPath('data', 'weights');
const reference = sharedPath('data', 'reference');
if (weights === undefined || reference === undefined) {
  test.skip('recorded runs: the folder of shared data is not here', () => undefined);
} else {
  interface Recorded {
    readonly greedy_from_bos: { readonly text: string; readonly ids: ReadonlyArray<number> };
    readonly data: Readonly<
      Record<string, ReadonlyArray<Readonly<Record<'input_ids' | 'labels', ReadonlyArray<ReadonlyArray<number>>>>>>
    >;
    readonly runs: ReadonlyArray<{
      readonly name: string;
      readonly train: string;
      readonly hyper: Readonly<Record<string, number | string | null>>;
      readonly log: ReadonlyArray<Readonly<Record<'loss' | 'grad_norm' | 'learning_rate', number | null>>>;
    }>;
  }
  const recorded = JSON.parse(
    gunzipSync(readFileSync(join(reference, 'stories260K_sft.json.gz'))).toString('utf8'),
  ) as Recorded;
  const model = join(weights, 'stories260K', 'hf');

  describe('stories260K', () => {
    test('greedy generation gives the recorded text', async () => {
      const { text, ids } = recorded.greedy_from_bos;
      const { out } = await rxtune(
        ...['generate', '--model', model, '--prompt', '', '--max-new-tokens', `${ids.length - 1}`],
      );
      expect(out.trim()).toBe(text.trim());
    });

    test.each(recorded.runs.map((run) => [run.name, run] as const))(
      '%s: loss, gradient norm and rate of each step',
      (name, run) =>
        inTemporary(async (directory) => {
          const batches = recorded.data[run.train] ?? [];
          const rows = batches.flatMap(({ input_ids: ids, labels }) =>
            // Padding there is the eos token without a label; it is told by where the labels and ids end.
            ids.map((row, i) => ({ input_ids: row, labels: labels[i] })),
          );
          await mkdir(directory, { recursive: true });
          await writeFile(join(directory, 'rows.jsonl'), jsonl(rows));
          const { hyper } = run;
          const flags = [
            'lr_scheduler_type',
            'warmup_steps',
            'weight_decay',
            'learning_rate',
            'max_grad_norm',
            'gradient_accumulation_steps',
          ];
          const outcome = await rxtune(
            ...[
              'sft',
              '--model',
              model,
              '--train-dataset',
              join(directory, 'rows.jsonl'),
              '--no-shuffle',
              '--max-length',
              '512',
            ],
            ...[
              '--max-steps',
              String(hyper['steps']),
              '--per-device-train-batch-size',
              String(batches[0]?.input_ids.length),
            ],
            ...flags.flatMap((key) => [`--${key.replaceAll('_', '-')}`, String(hyper[key])]),
            ...['--loss-mean', 'microBatch', '--save-strategy', 'no', '--output-dir', join(directory, 'out')],
            ...(name === 'lora-r8' ? ['--adapter', join(reference, 'stories260K_lora-init')] : []),
          );
          expect(outcome.code).toBe(0);
          const log = linesOf(await readFile(join(directory, 'out', 'log.jsonl'), 'utf8'));
          expect(log).toHaveLength(run.log.length);
          for (const [i, expected] of run.log.entries()) {
            for (const key of ['loss', 'grad_norm', 'learning_rate'] as const) {
              const wanted = expected[key];
              // Without clipping the reference did not record the norm.
              if (wanted === null) continue;
              const difference = Math.abs(Number(log[i]?.[key]) - wanted);
              expect(difference).toBeLessThanOrEqual(1e-3 * Math.abs(wanted) + 1e-12);
            }
          }
        }),
    );
  });
}
