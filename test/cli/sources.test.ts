/** Models and data sets by name, mixtures and rows held back, through the built command line. */
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { hubServer, type HubFile, type HubServer } from '../formats/hub/hubServer.js';
import { base, built, inTemporary, root, start, type Outcome } from './rxtune.js';

const shop = join(root, 'examples', 'quickstart');
const inFolder = (folder: string): Readonly<Record<string, HubFile>> =>
  Object.fromEntries(
    readdirSync(folder).map((name) => [
      name,
      { content: readFileSync(join(folder, name)), lfs: name.endsWith('.safetensors') },
    ]),
  );
const file = (name: string): HubFile => ({ content: readFileSync(join(shop, name)) });
const small = ['--max-length', '128', '--max-steps', '2', '--assistant-only-loss', '--logging-steps', '1'];
const told = (err: string): ReadonlyArray<string> => err.match(/^(model|data|downloading|rows)\b.*$/gm) ?? [];

let server: HubServer;
let env: Readonly<Record<string, string>> = {};
const rxtune = (...argv: ReadonlyArray<string>): Promise<Outcome> => start(argv, undefined, env);
beforeAll(async () => {
  built();
  server = await hubServer({
    'models/acme/shop': { files: inFolder(base) },
    'datasets/acme/orders': { files: { 'train.jsonl': file('train.jsonl'), 'test.jsonl': file('heldout.jsonl') } },
  });
});
afterAll(async () => {
  await server.close();
});

test('a run whose model and data sets are names equals the run on the same files', () =>
  inTemporary(async (directory) => {
    env = { HF_ENDPOINT: server.endpoint, HF_HUB_CACHE: join(directory, 'hub') };
    const lossesOf = (dir: string): ReadonlyArray<unknown> =>
      readFileSync(join(dir, 'log.jsonl'), 'utf8')
        .trim()
        .split('\n')
        .map((line) => (JSON.parse(line) as { loss?: number; eval_loss?: number }).loss);
    const [byName, byFile] = [join(directory, 'name'), join(directory, 'file')];
    const first = await rxtune(
      ...['sft', '--model', 'acme/shop', '--train-dataset', 'acme/orders', '--eval-dataset', 'acme/orders'],
      ...[...small, '--eval-steps', '2', '--output-dir', byName],
    );
    expect(first).toMatchObject({ code: 0 });
    expect(told(first.err)[0]).toMatch(/^downloading acme\/shop: config\.json/);
    expect(first.err).toMatch(/^model: acme\/shop of the Hub, commit [0-9a-f]{40}$/m);
    expect(first.err).toMatch(/^data: acme\/orders of the Hub, commit [0-9a-f]{40}$/m);
    const second = await rxtune(
      ...[
        'sft',
        '--model',
        base,
        '--train-dataset',
        join(shop, 'train.jsonl'),
        '--eval-dataset',
        join(shop, 'heldout.jsonl'),
      ],
      ...[...small, '--eval-steps', '2', '--output-dir', byFile],
    );
    expect(second).toMatchObject({ code: 0 });
    expect(second.err).toContain(`model: the directory ${base}\n`);
    expect(lossesOf(byName)).toEqual(lossesOf(byFile));
    env = { ...env, HF_HUB_OFFLINE: '1' };
    const offline = await rxtune('prepare', '--model', 'acme/shop', '--train-dataset', 'acme/orders::test');
    expect(offline).toMatchObject({ code: 0 });
    expect(offline.err).not.toContain('downloading');
  }));

test('a mixture draws from each source; weights for some only, or of no rows, are refused', () =>
  inTemporary(async (directory) => {
    const source = async (name: string, count: number): Promise<string> => {
      const path = join(directory, `${name}.jsonl`);
      await writeFile(path, Array.from({ length: count }, (_, i) => `{"text": "${name}${i}"}\n`).join(''));
      return path;
    };
    const [a, b] = [await source('a', 40), await source('b', 40)];
    const texts = ['prepare', '--tokenizer', base, '--train-dataset'];
    const mixed = await rxtune(...texts, `${a}=3,${b}=1`, '--seed', '1');
    expect(mixed.code).toBe(0);
    const again = await rxtune(...texts, `${a}=3`, '--train-dataset', `${b}=1`, '--seed', '1');
    expect(again.out).toBe(mixed.out);
    const all = await rxtune(...texts, `${a}=3,${b}=1`, '--stopping-strategy', 'all_exhausted_without_replacement');
    expect(all.err).toContain('rows read: 80\n');
    const some = await rxtune(...texts, `${a}=3,${b}`);
    expect([some.code, some.err.includes('E_MIXTURE')]).toEqual([2, true]);
  }));

test('rows held back are evaluated on, and a resumed run holds back the same', () =>
  inTemporary(async (directory) => {
    const run = ['sft', '--model', base, '--train-dataset', join(shop, 'train.jsonl'), '--output-dir', directory];
    const split = [
      '--eval-split',
      '40',
      '--eval-steps',
      '1',
      '--save-steps',
      '1',
      '--max-length',
      '128',
      '--assistant-only-loss',
    ];
    const first = await rxtune(...run, ...split, '--max-steps', '1');
    expect(first).toMatchObject({ code: 0 });
    expect(first.err).toContain('rows: 360 from 360 read');
    const resumed = await rxtune(...run, ...split, '--max-steps', '2', '--resume-from-checkpoint', 'true');
    expect(resumed).toMatchObject({ code: 0 });
    const both = await rxtune(...run, ...split, '--max-steps', '1', '--eval-dataset', join(shop, 'heldout.jsonl'));
    expect([both.code, both.err.includes('--eval-split and --eval-dataset')]).toEqual([2, true]);
  }));
