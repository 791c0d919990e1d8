/** Runs on which the world turns: a full disk, another locale and clock, secrets in the environment, an output directory in use. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { orThrow } from '../../src/errors.js';
import { verifyDirectory } from '../../src/formats/files/directory.js';
import { built, inTemporary, root, type Outcome } from './rxtune.js';

beforeAll(() => void built());

const quoted = (text: string): string => `'${text.replaceAll("'", `'\\''`)}'`;

/** The command line in a shell of its own, after `before`, in an environment of its own. */
const rxtune = (
  argv: ReadonlyArray<string>,
  { before = '', env = {} }: { readonly before?: string; readonly env?: Readonly<Record<string, string>> } = {},
): Promise<Outcome> =>
  new Promise((done, failed) => {
    const call = [process.execPath, built(), ...argv].map(quoted).join(' ');
    const child = spawn('bash', ['-c', `${before}\nexec ${call}`], { cwd: root, env: { ...process.env, ...env } });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => (err += text));
    child.on('error', failed);
    child.on('close', (code) => done({ code, out, err }));
  });

const model = join(root, 'test', 'golden', 'models', 'llama');

/** A call that trains the tiny model on rows of token ids. */
const sft = async (directory: string, out: string, ...more: ReadonlyArray<string>): Promise<ReadonlyArray<string>> => {
  const rows = join(directory, 'rows.jsonl');
  await writeFile(rows, [1, 2, 3, 4].map((i) => JSON.stringify({ input_ids: [i, i + 1, 2 * i, 5] })).join('\n'));
  return [
    ...['sft', '--model', model, '--train-dataset', rows, '--output-dir', out, '--max-length', '16'],
    ...['--per-device-train-batch-size', '2', '--threads', '1', ...more],
  ];
};

const filesBelow = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();

const hashes = (directory: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    filesBelow(directory).map((file) => [
      file.slice(directory.length),
      createHash('sha256').update(readFileSync(file)).digest('hex'),
    ]),
  );

describe('a full disk', () => {
  // Files may grow to 8 KiB: the log fits, the weights do not. Writes fail half-way, as on a disk that fills up.
  const before = `trap '' XFSZ; ulimit -f 8`;

  test('ends the run, keeps the checkpoints it had and leaves nothing half-written; with room again it goes on', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'out');
      const first = await rxtune(await sft(directory, out, '--save-steps', '1', '--max-steps', '2'));
      expect(first.code).toBe(0);
      const had = hashes(out);
      const more = await sft(
        ...([directory, out, '--save-steps', '1', '--max-steps', '4'] as const),
        ...['--resume-from-checkpoint', 'true'],
      );
      const full = await rxtune(more, { before });
      expect(full.err).toMatch(
        /rxtune: \S*\/checkpoint-3\/\S*: there is no space left to write it [^/]*\[E_DISK_FULL\]/,
      );
      expect(full.code).toBe(1);
      const { '/log.jsonl': _log, '/error.json': error, ...rest } = hashes(out);
      expect(error).toBeDefined();
      const { '/log.jsonl': __log, ...before3 } = had;
      expect(rest).toEqual(before3);
      await orThrow(verifyDirectory(join(out, 'checkpoint-2')));
      expect(await rxtune(more)).toMatchObject({ code: 0 });
      expect(hashes(out)).not.toHaveProperty(['/error.json']);
    }));

  test('on which not even the final model fits leaves no half of one', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'out');
      const full = await rxtune(await sft(directory, out, '--max-steps', '1', '--save-strategy', 'no'), { before });
      expect(full.err).toContain('[E_DISK_FULL]');
      expect(full.code).toBe(1);
      expect(readdirSync(out).sort()).toEqual(['error.json', 'log.jsonl']);
    }));
});

test('a terminal that is gone does not end the run', () =>
  inTemporary(async (directory) => {
    const out = join(directory, 'out');
    const child = spawn(process.execPath, [built(), ...(await sft(directory, out, '--max-steps', '2'))], { cwd: root });
    child.stderr.destroy();
    const code = await new Promise((done) => child.on('close', done));
    expect(code).toBe(0);
    expect(readdirSync(out)).toContain('model.safetensors');
  }));

describe('locale, time zone and clock', () => {
  test('change not a byte of what a run writes', () =>
    inTemporary(async (directory) => {
      const places = [
        { LANG: 'C', LC_ALL: 'C', TZ: 'UTC' },
        { LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8', LANGUAGE: 'tr', TZ: 'Asia/Kathmandu' },
      ];
      const written: Array<Readonly<Record<string, string>>> = [];
      for (const [i, env] of places.entries()) {
        const out = join(directory, String(i), 'out');
        // The second run begins later than the first by the time the first took: no file holds a moment.
        const outcome = await rxtune(await sft(directory, out, '--max-steps', '3', '--save-steps', '2'), { env });
        expect(outcome.err).toMatch(/step 3\/3 {2}loss \d\.\d{4} /);
        expect(outcome.code).toBe(0);
        written.push(hashes(out));
      }
      expect(Object.keys(written[0] ?? {})).toContain('/checkpoint-2/trainer_state.json');
      expect(written[1]).toEqual(written[0]);
    }));
});

describe('secrets', () => {
  const secret = 'hf_notForAnybodysEyes0123456789';
  const env = {
    HF_TOKEN: secret,
    HF_ENDPOINT: `http://user:${secret}@127.0.0.1:9`,
    HTTPS_PROXY: `http://user:${secret}@127.0.0.1:9`,
    RXTUNE_DEBUG: '1',
  };

  test('never reach what a run writes or says', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'out');
      const report = join(directory, 'report.html');
      const outcome = await rxtune(
        await sft(directory, out, '--max-steps', '2', '--save-steps', '1', '--r', '2', '--report', report),
        { env },
      );
      expect(outcome.code).toBe(0);
      const files = filesBelow(directory);
      expect(files).toContain(report);
      for (const file of files) expect((await readFile(file)).includes(secret)).toBe(false);
      expect(outcome.out + outcome.err).not.toContain(secret);
    }));

  test('given as part of a name are told to nobody else', () =>
    inTemporary(async (directory) => {
      const name = `http://user:${secret}@127.0.0.1:9/`;
      const out = join(directory, 'out');
      const report = join(directory, 'report.html');
      const outcome = await rxtune(
        await sft(directory, out, '--max-steps', '1', '--save-steps', '1', '--run-name', name, '--report', report),
      );
      expect(outcome.code).toBe(0);
      for (const file of filesBelow(directory)) expect((await readFile(file)).includes(secret)).toBe(false);
      for (const model of [`${name}m`, `hf://user:${secret}@owner/name`]) {
        const refused = await rxtune(['sft', '--model', model, '--train-dataset', `${name}x.jsonl`]);
        expect(refused.err).toMatch(/\[E_\w+\]/);
        expect(refused.out + refused.err).not.toContain(secret);
      }
    }));

  test('never stand in an error, not even where the address that holds them is the fault', async () => {
    const rows = join(root, 'examples', 'quickstart', 'train.jsonl');
    const call = ['sft', '--model', 'hf://owner/name', '--train-dataset', rows];
    for (const HF_HUB_OFFLINE of ['1', '']) {
      const outcome = await rxtune(call, { env: { ...env, HF_HUB_OFFLINE, HF_HOME: '/nonexistent' } });
      expect(outcome.err).toMatch(/\[E_HUB_\w+\]/);
      expect(outcome.code).not.toBe(0);
      expect(outcome.out + outcome.err).not.toContain(secret);
    }
  });
});

describe('the output directory', () => {
  test('is made with those above it, and what lies in it stays', () =>
    inTemporary(async (directory) => {
      const out = join(directory, 'deep', 'er', 'out');
      await mkdir(out, { recursive: true });
      await writeFile(join(out, 'notes.txt'), 'mine');
      const outcome = await rxtune(await sft(directory, out, '--max-steps', '1', '--save-strategy', 'no'));
      expect(outcome.code).toBe(0);
      expect(await readFile(join(out, 'notes.txt'), 'utf8')).toBe('mine');
      expect(readdirSync(out).sort()).toEqual([
        'README.md',
        'config.json',
        'log.jsonl',
        'model.safetensors',
        'notes.txt',
      ]);
    }));

  test('that is a file, or lies below one, is refused before anything else is done', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'file');
      await writeFile(file, 'mine');
      for (const out of [file, join(file, 'out')]) {
        const outcome = await rxtune(await sft(directory, out, '--max-steps', '1'));
        expect(outcome.err).toContain('[E_OUTPUT_DIR]');
        expect(outcome.code).toBe(1);
        expect(outcome.err).not.toContain('step 1/');
      }
      expect(await readFile(file, 'utf8')).toBe('mine');
    }));
});
