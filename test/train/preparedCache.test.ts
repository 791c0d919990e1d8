/** What prepared rows are kept under, where, and what is never kept. */
import { execFileSync, spawn } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeAll, beforeEach, afterEach, describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import type { Warning } from '../../src/errors.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { identified, madeOf } from '../../src/formats/identity.js';
import { interleave } from '../../src/formats/datasets/interleave.js';
import { jsonl } from '../../src/formats/datasets/jsonl.js';
import { requireRows } from '../../src/formats/datasets/requireRows.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { makeRejects } from '../../src/streams/rejects.js';
import { preparedDirectory } from '../../src/train/preparing/cache/directory.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { divide } from '../../src/train/preparing/divide.js';
import { watched } from '../../src/train/preflight/dataset.js';
import { prepareRows, trainRows } from '../../src/train/preparing/prepareRows.js';
import type { PrepareRowsSetup } from '../../src/train/preparing/prepareRows.js';
import { makeRowNames } from '../../src/train/preparing/rowNames.js';
import type { Dataset } from '../../src/train/run/run.js';
import { withChatTemplate } from '../../src/train/loading/withChatTemplate.js';
import { commitOf, hubServer } from '../formats/hub/hubServer.js';
import type { HubRepo } from '../formats/hub/hubServer.js';

const base = 'examples/quickstart/base';
let tokenizer: Tokenizer;
let dir: string;
let file: string;
let before: string | undefined;

beforeAll(async () => {
  tokenizer = await orThrow(loadTokenizer(base));
});
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'rxtune-kept-'));
  before = process.env['RXTUNE_CACHE'];
  process.env['RXTUNE_CACHE'] = join(dir, 'cache');
  file = join(dir, 'a.jsonl');
  writeFileSync(
    file,
    '{"text": "one two three"}\n{"prompt": "four", "completion": " five"}\n{"text": 6}\n' +
      '{"messages": [{"role": "user", "content": "six"}, {"role": "assistant", "content": "seven"}]}\n',
  );
});
afterEach(() => {
  if (before === undefined) delete process.env['RXTUNE_CACHE'];
  else process.env['RXTUNE_CACHE'] = before;
  rmSync(dir, { recursive: true, force: true });
});

const configOf = (options: SftOptions) => {
  const config = decodeSftConfig(options);
  if (E.isLeft(config)) throw config.left;
  return { ...config.right, maxLength: config.right.maxLength ?? 24 };
};

interface Setting {
  readonly dataset?: Dataset;
  readonly setup?: PrepareRowsSetup;
  readonly options?: SftOptions;
}

const prepared = async ({ dataset, setup = {}, options = {} }: Setting = {}) => {
  const warnings: Array<Warning> = [];
  const { fromCache, rows } = await orThrow(
    prepareRows(
      dataset ?? openDataset(file),
      { tokenizer, warn: (warning) => warnings.push(warning), ...setup },
      configOf(options),
    ),
  );
  return { fromCache, rows, codes: warnings.map(({ code }) => code) };
};

const kept = (): ReadonlyArray<string> => {
  const directory = join(dir, 'cache', 'prepared');
  return existsSync(directory) ? readdirSync(directory).map((name) => join(directory, name)) : [];
};

test('rows held back are not counted where both parts were prepared before', async () => {
  const options = { evalSplit: 0.4, seed: 3 };
  const rows = (): { readonly dataset: Dataset; readonly passes: () => number } => {
    let passes = 0;
    const source = openDataset([file, file]);
    const counted = {
      [Symbol.asyncIterator]: () => {
        passes++;
        return source[Symbol.asyncIterator]();
      },
    };
    // A generator is told from what can be read again by one look at it.
    return {
      dataset: identified(
        counted,
        madeOf([source], ([told]) => told),
      ),
      passes: () => passes - 1,
    };
  };
  const both = async (dataset: Dataset): Promise<ReadonlyArray<unknown>> => {
    const { trainDataset, evalDataset } = await orThrow(divide({ trainDataset: dataset }, configOf(options)));
    const parts = [trainDataset, evalDataset as Dataset];
    const made = [];
    for (const part of parts) made.push(await prepared({ dataset: part, options }));
    return made;
  };
  const first = rows();
  const second = rows();
  expect(await both(first.dataset)).toMatchObject([{ fromCache: false }, { fromCache: false }]);
  expect(first.passes()).toBe(3);
  expect(await both(second.dataset)).toMatchObject([{ fromCache: true }, { fromCache: true }]);
  expect(second.passes()).toBe(0);
});

describe('what decides prepared rows', () => {
  const changes: ReadonlyArray<readonly [string, SftOptions]> = [
    ['datasetTextField', { datasetTextField: 'text' }],
    ['packing', { packing: true }],
    ['addSpecialTokens', { addSpecialTokens: false }],
    ['completionOnlyLoss', { completionOnlyLoss: false }],
    ['promptBorder', { promptBorder: 'prompt_ids' }],
    ['assistantOnlyLoss', { assistantOnlyLoss: true }],
    ['responseTemplate', { responseTemplate: 'e' }],
    ['responseTemplate and instructionTemplate', { responseTemplate: 'e', instructionTemplate: 'x' }],
    ['parity', { parity: 'trl-0.7.10' }],
    ['maxLength', { maxLength: 9 }],
    ['packingStrategy', { packing: true, packingStrategy: 'wrapped' }],
    ['0.7.10 packing', { packing: true, parity: 'trl-0.7.10', maxLength: 4, shuffle: false }],
    ['numOfSequences', { packing: true, parity: 'trl-0.7.10', maxLength: 4, shuffle: false, numOfSequences: 9 }],
    ['charsPerToken', { packing: true, parity: 'trl-0.7.10', maxLength: 4, shuffle: false, charsPerToken: 2 }],
    [
      'appendConcatToken',
      { packing: true, parity: 'trl-0.7.10', maxLength: 4, shuffle: false, appendConcatToken: false },
    ],
    ['shuffle', { packing: true, parity: 'trl-0.7.10', maxLength: 4 }],
    ['seed', { packing: true, parity: 'trl-0.7.10', maxLength: 4, seed: 7 }],
  ];

  test('is each of these options, and no two settings of them share their rows', async () => {
    await prepared();
    for (const [name, options] of changes) {
      expect([name, (await prepared({ options })).fromCache]).toEqual([name, false]);
      expect([name, (await prepared({ options })).fromCache]).toEqual([name, true]);
    }
    expect(kept()).toHaveLength(changes.length + 1);
  });

  test('is none of these, which the loop or the report alone is about', async () => {
    await prepared();
    const indifferent: ReadonlyArray<SftOptions> = [
      { seed: 7 },
      { shuffle: false },
      { packingStrategy: 'wrapped' },
      { learningRate: 1 },
      { maxRejectRate: 0.9 },
      { numTrainEpochs: 9 },
    ];
    for (const options of indifferent) expect((await prepared({ options })).fromCache).toBe(true);
  });

  test('is whether rows tell roles and places', async () => {
    await prepared();
    const named = await prepared({ setup: { names: makeRowNames() } });
    expect(named.fromCache).toBe(false);
    const again = makeRowNames();
    const { rows, fromCache } = await prepared({ setup: { names: again } });
    expect(fromCache).toBe(true);
    expect(rows.map((row) => again.files.nameOf(row.files?.[0] ?? 0))).toEqual([file, file, file]);
    // Numbers of names that were there before would be others.
    const used = makeRowNames();
    used.files.numberOf('another');
    expect((await prepared({ setup: { names: used } })).fromCache).toBe(false);
  });

  test('is any file of the tokenizer, and the chat template it is given', async () => {
    await prepared();
    const other = join(dir, 'tokenizer');
    mkdirSync(other);
    for (const name of readdirSync(base).filter((each) => /token|template/.test(each))) {
      copyFileSync(join(base, name), join(other, name));
    }
    expect((await prepared({ setup: { tokenizer: await orThrow(loadTokenizer(other)) } })).fromCache).toBe(true);
    writeFileSync(join(other, 'chat_template.jinja'), '{{ messages }}');
    expect((await prepared({ setup: { tokenizer: await orThrow(loadTokenizer(other)) } })).fromCache).toBe(false);
    const templated = await orThrow(withChatTemplate(tokenizer, '{{ messages }}!'));
    expect((await prepared({ setup: { tokenizer: templated } })).fromCache).toBe(false);
    const again = await orThrow(withChatTemplate(tokenizer, '{{ messages }}!'));
    expect((await prepared({ setup: { tokenizer: again } })).fromCache).toBe(true);
    expect((await prepared({ setup: { tokenizer: { ...tokenizer, eosToken: 'o' } } })).fromCache).toBe(false);
  });

  test('is how files are named, ordered, read, mixed and divided', async () => {
    const more = join(dir, 'b.jsonl');
    copyFileSync(file, more);
    const mixed = (weight: number, seed: number, stoppingStrategy: 'first_exhausted' | 'all_exhausted') =>
      interleave(
        [
          { rows: openDataset(file), weight },
          { rows: jsonl(more), weight: 1 },
        ],
        { seed, stoppingStrategy },
      );
    const part = async (evalSplit: number, seed: number): Promise<Dataset> => {
      const config = { ...configOf({ evalSplit, seed }), evalSplit };
      return (await orThrow(divide({ trainDataset: openDataset([file, more]) }, config))).trainDataset;
    };
    const sets: ReadonlyArray<() => Dataset | Promise<Dataset>> = [
      () => openDataset(file),
      () => openDataset(more),
      () => jsonl(file),
      () => openDataset([file, more]),
      () => openDataset([more, file]),
      () => openDataset(file, { format: 'text' }),
      () => mixed(1, 1, 'first_exhausted'),
      () => mixed(2, 1, 'first_exhausted'),
      () => mixed(1, 2, 'first_exhausted'),
      () => mixed(1, 1, 'all_exhausted'),
      () => part(1, 1),
      () => part(2, 1),
    ];
    for (const [i, make] of sets.entries()) {
      expect([i, (await prepared({ dataset: await make() })).fromCache]).toEqual([i, false]);
      expect([i, (await prepared({ dataset: await make() })).fromCache]).toEqual([i, true]);
    }
    expect((await prepared({ dataset: requireRows(openDataset(file), 'it') })).fromCache).toBe(true);
  });
});

test('a data set of the Hub is known by what it holds, not by its name', async () => {
  const rowsOf = (text: string): HubRepo => ({
    commit: commitOf(text),
    files: { 'train.jsonl': { content: new TextEncoder().encode(`{"text": "${text}"}\n`) } },
  });
  const from = async (repo: HubRepo): Promise<boolean> => {
    const server = await hubServer({ 'datasets/acme/rows': repo });
    try {
      const hub = { endpoint: server.endpoint, cacheDir: join(dir, 'hub'), offline: false, token: undefined };
      return (await prepared({ dataset: openDataset('acme/rows', { hub }) })).fromCache;
    } finally {
      await server.close();
    }
  };
  expect([await from(rowsOf('one')), await from(rowsOf('one'))]).toEqual([false, true]);
  expect([await from(rowsOf('two')), await from(rowsOf('two'))]).toEqual([false, true]);
});

describe('what the key cannot see', () => {
  test('is prepared every time, and nothing of it is kept', async () => {
    const clock = makeChatTemplate('{{ strftime_now("%d") }}');
    if (E.isLeft(clock)) throw new Error(clock.left.message);
    const rows = [{ text: 'one two' }];
    const cases: ReadonlyArray<readonly [string, Setting]> = [
      ['rows in code', { dataset: rows }],
      ['rows that are looked at', { dataset: watched(openDataset(file), () => undefined) }],
      [
        'a mixture of both',
        {
          dataset: interleave<unknown>(
            [
              { rows: openDataset(file), weight: 1 },
              { rows, weight: 1 },
            ],
            { seed: 1 },
          ),
        },
      ],
      ['a formatting function', { setup: { formattingFunc: () => 'text' } }],
      [
        'an encoder in code',
        { setup: { tokenizer: { ...tokenizer, encode: (text, how) => tokenizer.encode(text, how) } } },
      ],
      ['a template in code', { setup: { tokenizer: { ...tokenizer, chatTemplate: { ...clock.right } } } }],
      ['a template that asks for the date', { setup: { tokenizer: { ...tokenizer, chatTemplate: clock.right } } }],
      ['preparedCache: false', { options: { preparedCache: false } }],
    ];
    for (const [name, setting] of cases) {
      expect([name, (await prepared(setting)).fromCache]).toEqual([name, false]);
      expect([name, (await prepared(setting)).fromCache]).toEqual([name, false]);
    }
    expect(kept()).toEqual([]);
    const streamed = await orThrow(
      trainRows(openDataset(file), { tokenizer }, configOf({ streaming: true, maxSteps: 1 })),
    );
    expect([streamed.fromCache, kept()]).toEqual([false, []]);
  });

  test('a pipe can be read once: it is not read for its hash', async () => {
    const pipe = join(dir, 'pipe.jsonl');
    execFileSync('mkfifo', [pipe]);
    const writer = spawn('sh', ['-c', `cat '${file}' > '${pipe}'`]);
    const { rows, fromCache } = await prepared({ dataset: openDataset(pipe) });
    writer.kill();
    expect([rows.length, fromCache, kept()]).toEqual([3, false, []]);
  });

  test('data that change while they are read are not kept', async () => {
    let changed = false;
    const { codes } = await prepared({
      setup: {
        // A tokenizer's own functions stay known; this one is asked while rows are prepared.
        names: new Proxy(makeRowNames(), {
          get: (target, name, receiver) => {
            if (!changed && name === 'files' && kept().length > 0) {
              changed = true;
              writeFileSync(file, '{"text": "another"}\n');
            }
            return Reflect.get(target, name, receiver) as unknown;
          },
        }),
      },
    });
    expect([changed, codes, kept()]).toEqual([true, ['W_PREPARED_CACHE'], []]);
  });
});

test('refused rows beyond counting are told as ever, and do not gather for the sake of the cache', async () => {
  const bad = join(dir, 'bad.jsonl');
  writeFileSync(bad, `${'7\n'.repeat(51_000)}{"text": "one"}\n`);
  const counted = async () => {
    const rejects = makeRejects();
    const { codes, fromCache } = await prepared({ dataset: openDataset(bad), setup: { rejects } });
    return [rejects.counts().rejected, codes, fromCache, kept().length];
  };
  expect(await counted()).toEqual([51_000, ['W_PREPARED_CACHE'], false, 0]);
  expect(await counted()).toEqual([51_000, ['W_PREPARED_CACHE'], false, 0]);
});

describe('the directory', () => {
  test('is RXTUNE_CACHE, else rxtune in an absolute XDG_CACHE_HOME, else in ~/.cache', () => {
    expect(preparedDirectory({ RXTUNE_CACHE: '/r', XDG_CACHE_HOME: '/x' }, '/home/a')).toBe('/r/prepared');
    expect(preparedDirectory({ RXTUNE_CACHE: '~/r' }, '/home/a')).toBe('/home/a/r/prepared');
    expect(preparedDirectory({ RXTUNE_CACHE: '', XDG_CACHE_HOME: '/x' }, '/home/a')).toBe('/x/rxtune/prepared');
    expect(preparedDirectory({ XDG_CACHE_HOME: 'x' }, '/home/a')).toBe('/home/a/.cache/rxtune/prepared');
    expect(preparedDirectory({}, '/home/a')).toBe('/home/a/.cache/rxtune/prepared');
  });

  test('holds no more than preparedCacheSize: what was longest not used goes first', async () => {
    const lengths = [8, 9, 10, 11];
    for (const maxLength of lengths.slice(0, 3)) await prepared({ options: { maxLength } });
    for (const [i, path] of kept().entries()) utimesSync(path, 1000 + i, 1000 + i);
    const size = Math.max(...kept().map((path) => statSync(path).size));
    const [oldest] = kept();
    // Used again, it is the newest.
    for (const maxLength of lengths.slice(0, 3)) {
      if (statSync(oldest ?? '').mtimeMs === 1_000_000) await prepared({ options: { maxLength } });
    }
    const preparedCacheSize = (3 * size + 20) / 2 ** 30;
    const others = kept().filter((path) => path !== oldest && statSync(path).mtimeMs === 1_001_000);
    await prepared({ options: { maxLength: 11, preparedCacheSize } });
    expect(kept()).toHaveLength(3);
    expect(existsSync(oldest ?? '')).toBe(true);
    expect(others.filter((path) => existsSync(path))).toEqual([]);
  });

  test('keeps nothing that is larger than all it may hold, saying so', async () => {
    const { rows, codes } = await prepared({ options: { preparedCacheSize: 1e-8 } });
    expect([rows.length, codes, kept()]).toEqual([3, ['W_PREPARED_CACHE'], []]);
  });

  test('is made for its user alone', async () => {
    await prepared();
    for (const made of ['cache', join('cache', 'prepared')]) expect(statSync(join(dir, made)).mode & 0o077).toBe(0);
  });

  test('that cannot be written to costs a warning, not the run', async () => {
    process.env['RXTUNE_CACHE'] = join(file, 'below a file');
    const { rows, codes } = await prepared();
    expect([rows.length, codes]).toEqual([3, ['W_PREPARED_CACHE']]);
  });

  test('is cleared of what a killed run has left', async () => {
    await prepared();
    const left = join(dir, 'cache', 'prepared', '.abc.rows.999999999-00000000.tmp');
    writeFileSync(left, 'half');
    await prepared({ options: { maxLength: 9 } });
    expect(existsSync(left)).toBe(false);
    expect(kept()).toHaveLength(2);
  });
});
