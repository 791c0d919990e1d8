/** The built command line as other programs see it: arguments in; exit code, output and error text out. */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmdirSync, statSync, utimesSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';

export const root = resolve(import.meta.dirname, '..', '..');
export const base = join(root, 'examples', 'quickstart', 'base');

const newest = (directory: string): number =>
  readdirSync(directory, { withFileTypes: true, recursive: true })
    .filter((entry) => entry.isFile())
    .reduce((latest, entry) => Math.max(latest, statSync(join(entry.parentPath, entry.name)).mtimeMs), 0);

/** Compiles `src` into `dist` unless that was done since the last change; test files that run at once wait for each other. */
export const built = (): string => {
  const main = join(root, 'dist', 'cli', 'main.js');
  const lock = join(root, 'dist.lock');
  const pause = new Int32Array(new SharedArrayBuffer(4));
  for (let tries = 0; ; tries++) {
    try {
      mkdirSync(lock);
      break;
    } catch {
      // A lock that outlives any compilation was left by a run that was killed.
      if (tries > 600) rmdirSync(lock);
      Atomics.wait(pause, 0, 0, 100);
    }
  }
  try {
    if (!existsSync(main) || statSync(main).mtimeMs < newest(join(root, 'src'))) {
      execFileSync('npx', ['--no-install', 'tsc', '-p', 'tsconfig.build.json'], { cwd: root, stdio: 'pipe' });
      utimesSync(main, new Date(), new Date());
    }
  } finally {
    rmdirSync(lock);
  }
  return main;
};

export interface Outcome {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Starts it; `watch` sees the process and its error text so far whenever more of it comes. */
export const start = (
  argv: ReadonlyArray<string>,
  watch: (child: ChildProcess, err: string) => void = () => undefined,
  env: Readonly<Record<string, string>> = {},
): Promise<Outcome> =>
  new Promise((done, failed) => {
    const child = spawn(process.execPath, [built(), ...argv], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'pipe'],
      env: { ...process.env, ...env },
    });
    let [out, err] = ['', ''];
    child.stdout.setEncoding('utf8').on('data', (text: string) => (out += text));
    child.stderr.setEncoding('utf8').on('data', (text: string) => {
      err += text;
      watch(child, err);
    });
    child.on('error', failed);
    child.on('close', (code) => done({ code, out, err }));
  });

export const rxtune = (...argv: ReadonlyArray<string>): Promise<Outcome> => start(argv);

/** Runs `use` with an empty directory that is gone afterwards. */
export const inTemporary = async <A>(use: (directory: string) => Promise<A>): Promise<A> => {
  const directory = await mkdtemp(join(tmpdir(), 'rxtune-'));
  try {
    return await use(directory);
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
};
