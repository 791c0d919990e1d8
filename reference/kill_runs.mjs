// Kills runs with SIGKILL at random instants, resumes them, and compares what they end with: the weights' hash and the log must be
// those of a run that was never stopped. Needs `npm run build`. Usage: node reference/kill_runs.mjs [runs = 200] [seed = 1]
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..');
const runs = Number(process.argv[2] ?? 200);
let state = Number(process.argv[3] ?? 1) >>> 0;
const random = () => {
  state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
  return state / 2 ** 32;
};
const below = (n) => Math.floor(random() * n);

const work = mkdtempSync(join(tmpdir(), 'rxtune-kill-'));
const data = join(work, 'rows.jsonl');
writeFileSync(
  data,
  Array.from({ length: 37 }, (_, i) =>
    JSON.stringify({ input_ids: Array.from({ length: 3 + (i % 9) }, (_, t) => (7 * i + 5 * t) % 40) }),
  ).join('\n'),
);

const variants = [
  [],
  ['--gradient-accumulation-steps', '3'],
  ['--r', '2', '--lora-dropout', '0.2', '--neftune-noise-alpha', '5'],
  ['--optim', 'lion', '--group-by-length'],
  ['--logging-steps', '7'],
];

/** One process; killed after `ms`, if given. Resolves to whether it came to its end. */
const go = (out, variant, resume, ms) =>
  new Promise((done, fail) => {
    const child = spawn(
      process.execPath,
      [
        join(root, 'dist', 'cli', 'main.js'),
        'sft',
        ...['--model', join(root, 'test', 'golden', 'models', 'llama'), '--train-dataset', data, '--output-dir', out],
        ...[
          '--max-steps',
          '160',
          '--save-steps',
          '10',
          '--save-total-limit',
          '3',
          '--per-device-train-batch-size',
          '4',
        ],
        ...['--learning-rate', '0.01', '--threads', '1', '--max-length', '32'],
        ...variants[variant],
        ...(resume ? ['--resume-from-checkpoint', 'true'] : []),
      ],
      { stdio: ['ignore', 'ignore', 'pipe'] },
    );
    let said = '';
    child.stderr.on('data', (text) => (said += text));
    const timer = ms === undefined ? undefined : setTimeout(() => child.kill('SIGKILL'), ms);
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      if (signal === 'SIGKILL') done(false);
      else if (code === 0) done(true);
      else fail(new Error(said));
    });
  });

const hashOf = (path) => createHash('sha256').update(readFileSync(path)).digest('hex');
const ending = (out) =>
  Object.fromEntries(
    readdirSync(out)
      .filter((name) => /\.(safetensors|jsonl|json)$/.test(name))
      .sort()
      .map((name) => [name, hashOf(join(out, name))]),
  );

const began = Date.now();
const whole = [];
for (const [variant] of variants.entries()) {
  const out = join(work, `whole-${variant}`);
  const start = Date.now();
  await go(out, variant, false);
  whole.push({ ending: JSON.stringify(ending(out)), ms: Date.now() - start });
}

let kills = 0;
let same = 0;
let leftovers = 0;
for (let run = 0; run < runs; run++) {
  const variant = run % variants.length;
  const out = join(work, `run-${run}`);
  const times = 1 + below(3);
  let finished = false;
  for (let kill = 0; kill < times && !finished; kill++) {
    const resume = existsSync(out) && readdirSync(out).some((name) => /^checkpoint-\d+$/.test(name));
    finished = await go(out, variant, resume, below(whole[variant].ms * 1.1));
    if (!finished) kills++;
  }
  if (!finished) {
    const resume = existsSync(out) && readdirSync(out).some((name) => /^checkpoint-\d+$/.test(name));
    await go(out, variant, resume);
  }
  if (JSON.stringify(ending(out)) === whole[variant].ending) same++;
  else console.error(`run ${run} (variant ${variant}) ended otherwise: ${out}`);
  leftovers += readdirSync(out).filter((name) => name.endsWith('.tmp')).length;
  if (JSON.stringify(ending(out)) === whole[variant].ending) rmSync(out, { recursive: true, force: true });
}
if (same === runs) rmSync(work, { recursive: true, force: true });
const minutes = Number(((Date.now() - began) / 60000).toFixed(1));
console.log(JSON.stringify({ runs, kills, same, leftovers, minutes }));
process.exitCode = same === runs && leftovers === 0 ? 0 : 1;
