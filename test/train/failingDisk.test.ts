/**
 * Runs and exports on a disk that fails at each of their calls of the file system in turn: reading, writing, renaming, syncing. Each
 * ends in one typed error that names the file once, or is done all the same; leaves no file that is half written; and does its work
 * when it is called again. RXTUNE_FAULTS=all tries every error of the system at every call; RXTUNE_FAULTS=2/5 the second of each five.
 */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { PassThrough } from 'node:stream';
import { afterAll, beforeAll, expect, jest, test } from '@jest/globals';
import { failingDisk } from '../failingDisk.js';
import type { Fault } from '../failingDisk.js';

const disk = failingDisk();
jest.unstable_mockModule('node:fs/promises', () => disk.exports);
const { runCommandLine } = await import('../../src/cli/command.js');
const { commands } = await import('../../src/cli/commands.js');
const { verifyDirectory } = await import('../../src/formats/files/directory.js');
const { letters } = await import('./letters.js');

const [, one = '', parts = ''] = /^(?:all|(\d+)\/(\d+))$/.exec(process.env['RXTUNE_FAULTS'] ?? '') ?? [];
const all = process.env['RXTUNE_FAULTS'] === 'all' || parts !== '';
const isOfPart = (i: number): boolean => parts === '' || i % Number(parts) === Number(one) % Number(parts);
const root = mkdtempSync(join(tmpdir(), 'rxtune-disk-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

const golden = resolve(import.meta.dirname, '..', 'golden', 'models');
const model = join(root, 'model');
const adapter = join(root, 'adapter');
const data = join(root, 'rows.jsonl');

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

const called = async (argv: ReadonlyArray<string>, fault?: Fault): Promise<Outcome> => {
  const [out, err] = [new PassThrough(), new PassThrough()];
  disk.reset(fault);
  const code = await runCommandLine(commands, { version: '0', argv, terminal: { out, err } });
  return { code, out: String(out.read() ?? ''), err: String(err.read() ?? '') };
};

beforeAll(async () => {
  mkdirSync(model);
  cpSync(join(golden, 'llama', 'config.json'), join(model, 'config.json'));
  cpSync(join(golden, 'llama', 'model.safetensors'), join(model, 'model.safetensors'));
  for (const [name, text] of Object.entries(letters.files)) writeFileSync(join(model, name), text);
  writeFileSync(
    data,
    Array.from({ length: 6 }, (_, i) =>
      JSON.stringify({ prompt: 'AB'.slice(i % 2), completion: 'CDEFGH'.slice(i) }),
    ).join('\n'),
  );
  const { code, err } = await called([...sft(adapter, '--r', '2', '--max-steps', '1'), '--save-strategy', 'no']);
  if (code !== 0) throw new Error(err);
});

const sft = (out: string, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...['sft', '--model', model, '--train-dataset', data, '--output-dir', out, '--max-length', '16', '--threads', '1'],
  ...['--per-device-train-batch-size', '2', ...more],
];

const checkpoints = (out: string): ReadonlyArray<string> =>
  existsSync(out) ? readdirSync(out).filter((name) => name.startsWith('checkpoint-')) : [];

/** The call; where there is a checkpoint, it goes on from that. */
const resuming = (out: string, ...more: ReadonlyArray<string>): ReadonlyArray<string> => [
  ...sft(out, '--max-steps', '2', '--save-steps', '1', ...more),
  ...(checkpoints(out).length > 0 ? ['--resume-from-checkpoint', 'true'] : []),
];

type Scenario = readonly [string, (directory: string) => ReadonlyArray<string>];

/** Hundreds of calls each, and a run after every one of them: with RXTUNE_FAULTS only. */
const long: ReadonlyArray<Scenario> = [
  [
    'a run with evaluations, logs, answers and a report',
    (directory) => [
      ...resuming(join(directory, 'out'), '--save-total-limit', '1', '--report-to', 'tensorboard'),
      ...['--eval-dataset', data, '--eval-steps', '1', '--load-best-model-at-end', '--eval-samples', '1'],
      ...['--eval-sample-tokens', '2', '--report', join(directory, 'report.html')],
    ],
  ],
  ['a run of adapters', (directory) => resuming(join(directory, 'out'), '--r', '2')],
  [
    'a quantised model',
    (directory) => [
      ...['quantize', '--model', model, '--train-dataset', data, '--max-length', '16', '--group-size', '8'],
      ...['--threads', '1', '--output-dir', join(directory, 'out')],
    ],
  ],
];

const short: ReadonlyArray<Scenario> = [
  ['a merge', (directory) => ['merge', '--model', model, '--adapter', adapter, '--output-dir', join(directory, 'out')]],
  ['a GGUF file', (directory) => ['export', '--model', model, '--out', join(directory, 'out.gguf')]],
  [
    'a GGUF adapter',
    (directory) => [
      ...['export', '--model', model, '--adapter', adapter, '--format', 'gguf-lora'],
      ...['--out', join(directory, 'out.gguf')],
    ],
  ],
  [
    'an export for transformers',
    (directory) => [
      ...['export', '--model', model, '--adapter', adapter, '--format', 'safetensors', '--out', join(directory, 'out')],
    ],
  ],
  [
    'prepared rows',
    (directory) => [
      ...['prepare', '--train-dataset', data, '--tokenizer', model, '--max-length', '16'],
      ...['--out', join(directory, 'out.jsonl')],
    ],
  ],
];

/** The directory, new, and a cache of prepared rows that is empty. */
const made = (): string => {
  const directory = join(root, 'made');
  const cache = join(root, 'cache');
  for (const old of [directory, cache]) rmSync(old, { recursive: true, force: true });
  process.env['RXTUNE_CACHE'] = cache;
  mkdirSync(directory);
  return directory;
};

/** Durations differ from run to run. */
const timeless = (name: string, bytes: Buffer): Buffer =>
  /\.(jsonl|json|md)$/.test(name)
    ? Buffer.from(String(bytes).replace(/"\w*(seconds|runtime|per_second)\w*":[^,}]*/g, ''))
    : bytes;

/** Files, and what is in those that are alike in every run. */
const contents = (directory: string): Readonly<Record<string, string>> =>
  Object.fromEntries(
    readdirSync(directory, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile())
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path): [string, string] => {
        const name = path.slice(directory.length + 1);
        const hash = createHash('sha256').update(timeless(name, readFileSync(path)));
        return /tfevents|report\.html/.test(name) ? [name.replace(/tfevents.*/, ''), ''] : [name, hash.digest('hex')];
      })
      .sort(([a], [b]) => (a < b ? -1 : 1)),
  );

/** The errors that a call may end with. Of a full disk every later call knows too. */
const faultsOf = (call: string, at: number): ReadonlyArray<Fault> => {
  const [eio, eacces] = [
    { at, code: 'EIO' },
    { at, code: 'EACCES' },
  ];
  const full = [
    { at, code: 'ENOSPC', lasting: true },
    { at, code: 'ENOSPC' },
  ];
  if (/^(write|sync|writeFile|copyFile) /.test(call)) return [...full, eio];
  if (/^(open w|mkdir|rename) /.test(call)) return [...full, eacces, eio];
  return /^(read|close) /.test(call) ? [eio] : [eacces, eio];
};

/** Calls that differ in numbers and in what is random are of one kind. */
const kindOf = (call: string): string => call.replace(/\d+-[0-9a-f]{8}\d+/g, '*').replace(/\d+/g, '*');

/** One fault for the first and the last call of each kind, another each time; or all there are. */
const faultsIn = (calls: ReadonlyArray<string>): ReadonlyArray<Fault> => {
  if (all) return calls.flatMap(faultsOf).filter((_, i) => isOfPart(i));
  const kinds = calls.map(kindOf);
  const chosen = calls.flatMap((call, at) =>
    kinds.indexOf(kinds[at] ?? '') === at || kinds.lastIndexOf(kinds[at] ?? '') === at ? [faultsOf(call, at)] : [],
  );
  return chosen.flatMap((faults, i) => faults.slice(i % faults.length, (i % faults.length) + 1));
};

/** Files that are neither as in a run that nothing disturbed, nor logs of whole lines, nor parts of a checkpoint that is whole. */
const unsound = async (
  directory: string,
  found: Readonly<Record<string, string>>,
  whole: Readonly<Record<string, string>>,
): Promise<ReadonlyArray<string>> => {
  const faults: Array<string> = [];
  for (const [name, hash] of Object.entries(found)) {
    const text = (): string => readFileSync(join(directory, name), 'utf8');
    if (whole[name] === hash) continue;
    if (name.endsWith('error.json')) expect(JSON.parse(text())).toHaveProperty('code');
    else if (/(log|evaluations|samples)\.jsonl$/.test(name)) {
      const lines = text().split('\n');
      if (lines.pop() !== '') faults.push(`${name} ends within a line`);
      lines.forEach((line) => JSON.parse(line) as unknown);
    } else if (/checkpoint-\d+\//.test(name)) {
      const verified = await verifyDirectory(join(directory, name, '..'))();
      if (verified._tag === 'Left') faults.push(`${name}: ${verified.left.message}`);
    } else faults.push(name);
  }
  return faults;
};

test.each([...short, ...(all ? long : [])])('%s', async (_, argvOf) => {
  const first = made();
  const undisturbed = await called(argvOf(first));
  expect(undisturbed).toMatchObject({ code: 0 });
  const calls = disk.calls();
  const whole = contents(first);
  const again = new Set<string>();
  const wrong: Array<string> = [];
  const faults = faultsIn(calls);
  for (const fault of faults) {
    const directory = made();
    const said = (what: string): void =>
      void wrong.push(`${fault.code} at call ${fault.at}, ${calls[fault.at] ?? ''}: ${what}`.replaceAll(root, ''));
    const { code, err } = await called(argvOf(directory), fault);
    if (disk.open().length > 0) said(`left open: ${disk.open().join(', ')}`);
    const found = contents(directory);
    if (code === 0) {
      if (JSON.stringify(found) !== JSON.stringify(whole))
        said(`done, and other files: ${Object.keys(found).join(', ')}`);
    } else {
      // A disk that stays full has no room for the report either.
      const errors = err
        .split('\n')
        .filter((line) => /\[E_\w+\]/.test(line) && !(fault.lasting === true && line.startsWith('no report: ')));
      const [error = ''] = errors;
      if (errors.length !== 1 || !error.startsWith('rxtune: ') || error.includes('E_BUG')) said(`told as ${err}`);
      if (error.split(root).length !== 2 || error.includes('.tmp')) said(`paths in ${error}`);
    }
    // Nothing can be removed where removing is what fails.
    const isRemoval = (calls[fault.at] ?? '').startsWith('rm ');
    for (const name of isRemoval ? [] : await unsound(directory, found, whole)) said(`half: ${name}`);
    const state = JSON.stringify([found, existsSync(join(directory, 'out', 'error.json'))]);
    if (again.has(state)) continue;
    again.add(state);
    const second = await called(argvOf(directory));
    if (second.code !== 0) said(`again: ${second.err}`);
    if (JSON.stringify(contents(directory)) !== JSON.stringify(whole))
      said(`again, and other files: ${Object.keys(contents(directory)).join(', ')}`);
  }
  if (all) process.stdout.write(`${calls.length} calls, ${faults.length} faults, ${again.size} calls again\n`);
  expect(wrong).toEqual([]);
});

test('a disk that is full from the middle of a checkpoint on: one error, and every file is closed when it is told', async () => {
  const argvOf = (directory: string): ReadonlyArray<string> => [
    ...resuming(join(directory, 'out'), '--eval-dataset', data, '--eval-steps', '1', '--report-to', 'tensorboard'),
    ...['--report', join(directory, 'report.html')],
  ];
  expect(await called(argvOf(made()))).toMatchObject({ code: 0 });
  const at = disk.calls().findIndex((call) => /^write .*checkpoint-1.*optimizer/.test(call));
  expect(at).toBeGreaterThan(0);
  const { code, err } = await called(argvOf(made()), { at, code: 'ENOSPC', lasting: true });
  expect(code).toBe(1);
  expect(disk.open()).toEqual([]);
  const told = err.split('\n').filter((line) => line.includes('[E_'));
  expect(told.map((line) => line.replaceAll(root, ''))).toEqual([
    'no report: /made/report.html: there is no space left to write it (ENOSPC) [E_DISK_FULL]',
    'rxtune: /made/out/checkpoint-1/optimizer.safetensors: there is no space left to write it (ENOSPC) [E_DISK_FULL]',
  ]);
});

test('a checkpoint that could not be removed is removed by the next run, in the same process too', async () => {
  const argvOf = (directory: string): ReadonlyArray<string> =>
    resuming(join(directory, 'out'), '--save-total-limit', '1');
  const first = made();
  expect(await called(argvOf(first))).toMatchObject({ code: 0 });
  const at = disk.calls().findIndex((call) => /^rm .*\.checkpoint-1\..*tmp$/.test(call));
  expect(at).toBeGreaterThan(0);
  const files = Object.keys(contents(first));
  const directory = made();
  expect(await called(argvOf(directory), { at, code: 'EACCES' })).toMatchObject({ code: 1 });
  expect(Object.keys(contents(directory)).filter((name) => name.includes('.tmp'))).not.toEqual([]);
  expect(await called(argvOf(directory))).toMatchObject({ code: 0 });
  expect(Object.keys(contents(directory))).toEqual(files);
});
