/** Which files make a split, and how sources are mixed, against what `datasets` does; data sets by name through a Hub in small. */
import { afterEach, describe, expect, test } from '@jest/globals';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import * as E from 'fp-ts/lib/Either.js';
import { isFatal, type FatalError } from '../../src/errors.js';
import { openDataset, type DatasetOptions } from '../../src/formats/datasets/dataset.js';
import { namedSet } from '../../src/formats/hub/dataset.js';
import { chooseConverted, chooseFiles, splitsByName, type DatasetChoice } from '../../src/formats/hub/datasetFiles.js';
import { interleaved, type StoppingStrategy } from '../../src/formats/datasets/interleave.js';
import { identityOf } from '../../src/formats/identity.js';
import { findDataset } from '../../src/formats/datasets/presence.js';
import { hubServer, type HubFile, type HubRepo, type HubServer } from './hub/hubServer.js';
import { collected, temporaryDirectory } from './temporary.js';

const golden = JSON.parse(readFileSync(join(import.meta.dirname, '..', 'golden', 'dataset_sources.json'), 'utf8')) as {
  readonly folders: ReadonlyArray<{
    readonly files: ReadonlyArray<string>;
    readonly splits: Readonly<Record<string, ReadonlyArray<string>>>;
  }>;
  readonly mixes: ReadonlyArray<{
    readonly lengths: ReadonlyArray<number>;
    readonly draws: ReadonlyArray<number>;
    readonly strategy: StoppingStrategy;
    readonly rows: ReadonlyArray<readonly [number, number]>;
  }>;
};

describe('as datasets does it', () => {
  test.each(golden.folders)('splits of $files', ({ files, splits }) => {
    // Of several formats datasets names all and then reads the most frequent one.
    const ours = splitsByName(files);
    expect(ours).toEqual(splits);
  });

  test.each(golden.mixes)('a mixture of $lengths rows, $strategy', async ({ lengths, draws, strategy, rows }) => {
    const sources = lengths.map((length, s) => Array.from({ length }, (_, i) => [s, i] as const));
    let at = 0;
    const mixed = interleaved(sources, () => draws[at++] ?? 0, strategy);
    expect(await collected(mixed)).toEqual(rows);
  });
});

const card = (front: string): string => `---\nlicense: mit\n${front}---\n# Card\n`;
const configs = card(`configs:
- config_name: main
  data_files:
  - split: train
    path: main/train-*.jsonl
  - split: test
    path: ["main/test.jsonl", "extra/**"]
- config_name: socratic
  data_dir: socratic
`);
const paths = [
  'README.md',
  'main/train-0.jsonl',
  'main/train-1.jsonl',
  'main/test.jsonl',
  'extra/deep/more.jsonl',
  'socratic/train.jsonl',
  'socratic/test.jsonl',
];
const chosen = (choice: DatasetChoice, readme = configs): ReadonlyArray<string> | undefined => {
  const result = chooseFiles('acme/set', paths, readme, choice);
  if (E.isLeft(result)) throw result.left;
  return result.right;
};
const refusal = (choice: DatasetChoice, readme = configs): FatalError => {
  const result = chooseFiles('acme/set', paths, readme, choice);
  if (E.isRight(result)) throw new Error('chosen');
  return result.left;
};

describe('what the card says', () => {
  test('configurations and splits, by patterns and by folder', () => {
    expect(chosen({ config: 'main' })).toEqual(['main/train-0.jsonl', 'main/train-1.jsonl']);
    expect(chosen({ config: 'main', split: 'test' })).toEqual(['main/test.jsonl', 'extra/deep/more.jsonl']);
    expect(chosen({ config: 'socratic', split: ['validation', 'test'] })).toEqual(['socratic/test.jsonl']);
  });

  test('the default configuration is the one that says so', () => {
    expect(chosen({}, configs.replace('data_dir: socratic', 'data_dir: socratic\n  default: true'))).toEqual([
      'socratic/train.jsonl',
    ]);
  });

  test('what is not there is refused with what is', () => {
    for (const [choice, mentions] of [
      [{}, 'main, socratic'],
      [{ config: 'mian' }, 'main, socratic'],
      [{ config: 'main', split: 'dev' }, 'train, test'],
    ] as const) {
      const { code, kind, details } = refusal(choice);
      expect({ code, kind, expected: details.expected }).toMatchObject({ code: 'E_DATASET_CHOICE', kind: 'usage' });
      expect(details.expected).toContain(mentions);
    }
  });

  test('a card that is no YAML says nothing', () => {
    expect(chosen({ split: 'test' }, card('configs: [\n'))).toEqual(
      ['extra/deep/more.jsonl', 'main/test.jsonl', 'socratic/test.jsonl'].filter((path) => path.includes('test')),
    );
  });

  test("the Hub's own conversion is found by configuration and split", () => {
    const converted = ['default/train/0000.parquet', 'default/train/0001.parquet', 'default/partial-test/0000.parquet'];
    expect(chooseConverted('a/b', converted, {})).toEqual(E.right(converted.slice(0, 2)));
    const odd = ['default/constructor/0000.parquet'];
    expect(chooseConverted('a/b', odd, { split: 'constructor' })).toEqual(E.right(odd));
    expect(chooseConverted('a/b', converted, { split: 'constructor' })).toMatchObject({ _tag: 'Left' });
    expect(chooseConverted('a/b', converted, { split: 'test' })).toEqual(E.right(converted.slice(2)));
  });
});

describe('names', () => {
  test.each([
    ['acme/set', { id: 'acme/set', revision: 'main' }, {}],
    ['acme/set@v1:main:test', { id: 'acme/set', revision: 'v1' }, { config: 'main', split: 'test' }],
    ['acme/set::test', { id: 'acme/set', revision: 'main' }, { split: 'test' }],
    [
      'hf://datasets/acme/set@refs/convert/parquet/x/*.parquet',
      { id: 'acme/set', revision: 'refs/convert/parquet' },
      { pattern: 'x/*.parquet' },
    ],
    ['hf://datasets/acme/set', { id: 'acme/set', revision: 'main' }, {}],
  ])('%s', (text, repo, rest) => {
    const result = namedSet(text);
    expect(result !== undefined && E.isRight(result) ? result.right : result).toEqual({
      repo: { kind: 'dataset', ...repo },
      ...rest,
    });
  });

  test.each(['rows.jsonl', 'data/rows.jsonl', './acme/set', 'a/b/c', 'set', 'C:\\rows', 'data/*.jsonl', 'x/y.gz'])(
    '%s is a path',
    (text) => expect(namedSet(text)).toBeUndefined(),
  );
});

const rows = (...values: ReadonlyArray<string>): HubFile => ({
  content: new TextEncoder().encode(values.map((text) => `${JSON.stringify({ text })}\n`).join('')),
  lfs: true,
});
const root = temporaryDirectory();
let running: HubServer | undefined;
let caches = 0;
afterEach(async () => {
  await running?.close();
  running = undefined;
});
const options = (server: HubServer, more: DatasetOptions = {}): DatasetOptions => ({
  ...more,
  hub: {
    endpoint: server.endpoint,
    cacheDir: join(root, `cache-${caches++}`),
    offline: false,
    token: undefined,
    retryMs: 1,
  },
});
const textsOf = async (path: string | ReadonlyArray<string>, given: DatasetOptions): Promise<ReadonlyArray<unknown>> =>
  (await collected(openDataset(path, given))).map((row) =>
    'value' in row ? (row.value as { text: string }).text : row,
  );
const failure = async (path: string, given: DatasetOptions): Promise<FatalError> => {
  try {
    await collected(openDataset(path, given));
  } catch (error) {
    if (isFatal(error)) return error;
    throw error;
  }
  throw new Error('read');
};

const set: HubRepo = {
  files: {
    'README.md': { content: new TextEncoder().encode('# A set') },
    'train-0.jsonl': rows('a', 'b'),
    'train-1.jsonl': rows('c'),
    'test.jsonl': rows('t'),
  },
};

describe('from the Hub', () => {
  test('the files of a split are read in order, and fetched only when their turn comes', async () => {
    running = await hubServer({ 'datasets/acme/set': set });
    const given = options(running);
    const asked = (): ReadonlyArray<string> =>
      (running?.requests ?? [])
        .filter(({ method, url }) => method === 'GET' && /resolve.*jsonl/.test(url))
        .map(({ url }) => url);
    for await (const row of openDataset('acme/set', given)) {
      expect(row).toMatchObject({ line: 1, value: { text: 'a' } });
      expect(row.file).toMatch(/datasets--acme--set\/snapshots\/[0-9a-f]{40}\/train-0\.jsonl$/);
      break;
    }
    expect(asked().length).toBe(1);
    expect(await textsOf('acme/set', given)).toEqual(['a', 'b', 'c']);
    expect(await textsOf(['acme/set::test', 'hf://datasets/acme/set/*-1.jsonl'], given)).toEqual(['t', 'c']);
    expect(await textsOf('acme/set', { ...given, hub: { ...given.hub, offline: true } })).toEqual(['a', 'b', 'c']);
  });

  test('the Hub is asked once what a name stands for, whatever reads the rows; what it refused is asked for again', async () => {
    running = await hubServer({ 'datasets/acme/set': set });
    const told: Array<string> = [];
    const listings = (): number => (running?.requests ?? []).filter(({ url }) => url.startsWith('/api/')).length;
    const rowsOf = openDataset('acme/set', options(running, { onLocated: (where) => told.push(where) }));
    await findDataset(rowsOf);
    expect(told).toEqual([]);
    expect(await identityOf(rowsOf)).toBeDefined();
    for (let loop = 0; loop < 2; loop++)
      expect(await collected(rowsOf)).toMatchObject(['a', 'b', 'c'].map((text) => ({ value: { text } })));
    expect(listings()).toBe(1);
    expect(told[0]).toContain('acme/set of the Hub');
    const absent = openDataset('acme/absent', options(running));
    for (const asked of [2, 3]) {
      await expect(findDataset(absent)).rejects.toMatchObject({ code: 'E_HUB_NOT_FOUND' });
      expect(listings()).toBe(asked);
    }
  });

  test('what has no data files is read from the branch that the Hub converts into', async () => {
    running = await hubServer({ 'datasets/acme/script': { files: { 'script.py': rows('x') } } });
    expect((await failure('acme/script', options(running))).code).toBe('E_NO_FILE');
    await running.close();
    const content = readFileSync(join(import.meta.dirname, 'data', 'rows-none.parquet'));
    running = await hubServer({
      'datasets/acme/script': {
        files: { 'script.py': rows('x') },
        converted: { 'default/train/0000.parquet': { content, lfs: true } },
      },
    });
    const read = await collected(openDataset('acme/script', options(running)));
    expect(read).toEqual(
      (await collected(openDataset(join(import.meta.dirname, 'data', 'rows-none.parquet')))).map((row) => ({
        ...row,
        file: read[0]?.file,
      })),
    );
    expect(read.length).toBeGreaterThan(0);
  });

  test('a folder here goes before a name, and its split is chosen as a name is', async () => {
    running = await hubServer({ 'datasets/acme/set': set });
    const folder = join(root, 'folder');
    for (const [name, file] of Object.entries(set.files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), file.content);
    }
    const told: Array<string> = [];
    const given = options(running, { onLocated: (where) => told.push(where) });
    expect(await textsOf(folder, given)).toEqual(['a', 'b', 'c']);
    expect(await textsOf(folder, { ...given, split: ['test', 'validation'] })).toEqual(['t']);
    expect(told[0]).toBe(`the directory ${folder}`);
    expect(running.requests).toEqual([]);
  });

  test('refusals name the data set and the way out', async () => {
    running = await hubServer({ 'datasets/acme/private': { ...set, token: 'hf_x' }, 'datasets/acme/set': set });
    expect((await failure('acme/private', options(running))).code).toBe('E_HUB_NOT_FOUND');
    expect((await failure('acme/set:none', options(running))).code).toBe('E_DATASET_CHOICE');
    expect((await failure('acme/set@nowhere', options(running))).code).toBe('E_HUB_NOT_FOUND');
    expect((await failure('hf://datasets/acme/set/*.csv', options(running))).code).toBe('E_NO_FILE');
  });
});
