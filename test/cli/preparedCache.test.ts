/** A second run starts with the rows of the first, says so, and comes to the same. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from '@jest/globals';
import { base, built, root, start, type Outcome } from './rxtune.js';

let dir: string;

beforeAll(() => {
  built();
  dir = mkdtempSync(join(tmpdir(), 'rxtune-cli-cache-'));
  writeFileSync(
    join(dir, 'a.jsonl'),
    `${Array.from({ length: 9 }, (_, i) => `{"text": "row ${i}"}`).join('\n')}\n{"text": 7}\nno JSON\n`,
  );
  writeFileSync(join(dir, 'b.jsonl'), '{"prompt": "4 ", "completion": "5"}\n');
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

const rxtune = (...argv: ReadonlyArray<string>): Promise<Outcome> =>
  start(argv, undefined, { RXTUNE_CACHE: join(dir, 'cache') });

const told = 'taken from the cache';
const without = (text: string): ReadonlyArray<string> => text.split('\n').filter((line) => !line.includes(told));

test('prepare: the same rows, counts, warnings and refusals, to the letter', async () => {
  const data = ['--train-dataset', `${join(dir, 'a.jsonl')},${join(dir, 'b.jsonl')}`, '--tokenizer', base];
  const first = await rxtune('prepare', ...data);
  const second = await rxtune('prepare', ...data);
  expect([first.code, second.code]).toEqual([0, 0]);
  expect(first.err).not.toContain(told);
  expect(second.err).toContain(`prepared before, ${told}\n`);
  expect(second.out).toBe(first.out);
  expect(without(second.err)).toEqual(without(first.err));
  expect(second.err).toContain('[E_INVALID_JSON]');
  expect(second.err).toContain(`from ${join(dir, 'a.jsonl')}: 11 rows, 2 refused`);

  const out = join(dir, 'out.jsonl');
  expect((await rxtune('prepare', ...data, '--out', out)).err).toContain(told);
  expect(readFileSync(out, 'utf8')).toBe(first.out);
  expect((await rxtune('prepare', ...data, '--no-prepared-cache')).err).not.toContain(told);
});

test('several at once: each comes to the same, and nothing is left half written', async () => {
  const cache = join(dir, 'shared');
  const argv = ['prepare', '--train-dataset', join(dir, 'a.jsonl'), '--tokenizer', base];
  const all = await Promise.all(Array.from({ length: 3 }, () => start(argv, undefined, { RXTUNE_CACHE: cache })));
  const last = await start(argv, undefined, { RXTUNE_CACHE: cache });
  for (const { code, out } of all) expect([code, out]).toEqual([0, last.out]);
  expect(last.err).toContain(told);
  expect(readdirSync(join(cache, 'prepared'))).toEqual([expect.stringMatching(/^[0-9a-f]{64}\.rows$/)]);
});

test('no room for the cache: a warning, and the same rows', async () => {
  const data = join(dir, 'many.jsonl');
  writeFileSync(data, Array.from({ length: 3000 }, (_, i) => `{"text": "row ${i}"}\n`).join(''));
  const cache = join(dir, 'full');
  const argv = ['prepare', '--train-dataset', data, '--tokenizer', base];
  // Of files, not of pipes: what is written to standard output is not bounded.
  const bounded = spawnSync('sh', ['-c', 'ulimit -f 8; exec "$@"', 'sh', process.execPath, built(), ...argv], {
    cwd: root,
    env: { ...process.env, RXTUNE_CACHE: cache },
    encoding: 'utf8',
    maxBuffer: 1 << 26,
  });
  expect([bounded.status, bounded.stderr]).toEqual([0, expect.stringContaining('[W_PREPARED_CACHE]')]);
  expect(readdirSync(join(cache, 'prepared'))).toEqual([]);
  expect(bounded.stdout).toBe((await start([...argv, '--no-prepared-cache'])).out);
});

test('sft: the same losses from rows that were not prepared again', async () => {
  const run = (name: string) =>
    rxtune(
      ...['sft', '--model', base, '--train-dataset', join(dir, 'a.jsonl'), '--max-length', '32'],
      ...['--max-steps', '2', '--output-dir', join(dir, name)],
    );
  const first = await run('first');
  const second = await run('second');
  expect([first.code, second.code]).toEqual([0, 0]);
  expect(first.err).not.toContain(told);
  expect(second.err).toContain(`rows: prepared before, ${told}\n`);
  const losses = (name: string): ReadonlyArray<unknown> =>
    readFileSync(join(dir, name, 'log.jsonl'), 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => (JSON.parse(line) as { readonly loss?: number }).loss);
  expect(losses('second')).toEqual(losses('first'));
  expect(readdirSync(join(dir, 'cache', 'prepared')).length).toBeGreaterThan(0);
});
