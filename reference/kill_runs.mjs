// Kills runs with SIGKILL at random instants - many of them while a checkpoint is being written - resumes them, and compares what
// they end with: the weights' hash and the logs must be those of a run that was never stopped. Before some resumptions the newest
// checkpoint is damaged: the run must say so and go on from the one before. Needs `npm run build`.
// Usage: node reference/kill_runs.mjs [runs = 200] [seed = 1]
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  truncateSync,
  watch,
  writeFileSync,
} from 'node:fs';
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

const accumulated = ['--gradient-accumulation-steps', '3'];
const lora = ['--r', '2', '--lora-dropout', '0.2', '--neftune-noise-alpha', '5'];
const best = ['--eval-dataset', data, '--eval-steps', '10', '--eval-on-start', '--load-best-model-at-end'];
/** Model and options. */
const variants = [
  ['llama'],
  ['llama', ...accumulated],
  ['llama', ...lora],
  ['llama', '--optim', 'lion', '--group-by-length'],
  ['llama', '--logging-steps', '7', '--threads', '2'],
  ['gpt2', '--optim', 'adafactor', ...best],
  ['llama', '--streaming', '--shuffle-buffer', '8', '--optim', 'sgd', '--momentum', '0.9'],
  ['llama', '--packing', '--max-length', '24', ...accumulated, '--epoch-remainder', 'update'],
  ['gpt2', '--streaming', '--packing', '--packing-strategy', 'wrapped', '--max-length', '24', ...lora],
  ['qwen2', '--loss-mean', 'microBatch', ...accumulated, '--gradient-checkpointing', '--lr-scheduler-type', 'cosine'],
];

/** One process. `kill`: after so many milliseconds, or so many after the writing of a checkpoint has begun. */
const go = (out, variant, resume, kill) =>
  new Promise((done, fail) => {
    const [model, ...options] = variants[variant];
    const argv = [
      ...['sft', '--model', join(root, 'test', 'golden', 'models', model), '--train-dataset', data],
      ...['--output-dir', out, '--max-steps', '120', '--save-steps', '10', '--save-total-limit', '3'],
      ...[
        '--per-device-train-batch-size',
        '4',
        '--learning-rate',
        '0.01',
        '--warmup-steps',
        '5',
        '--weight-decay',
        '0.1',
      ],
      ...(options.includes('--threads') ? [] : ['--threads', '1']),
      ...(options.includes('--max-length') ? [] : ['--max-length', '32']),
      ...options,
      ...(resume ? ['--resume-from-checkpoint', 'true'] : []),
    ];
    const child = spawn(process.execPath, [join(root, 'dist', 'cli', 'main.js'), ...argv], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', (text) => (said += text));
    let timer;
    let watcher;
    const end = () => child.kill('SIGKILL');
    if (kill?.writing === undefined) timer = kill === undefined ? undefined : setTimeout(end, kill.ms);
    else {
      mkdirSync(out, { recursive: true });
      let seen = 0;
      watcher = watch(out, (_, name) => {
        if (timer !== undefined || !/^\.checkpoint-\d+\./.test(name ?? '') || seen++ < kill.writing) return;
        timer = setTimeout(end, kill.ms);
      });
    }
    child.on('exit', (code, signal) => {
      clearTimeout(timer);
      watcher?.close();
      if (signal === 'SIGKILL') done({ finished: false, said });
      else if (code === 0) done({ finished: true, said });
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

const checkpointsOf = (out) =>
  (existsSync(out) ? readdirSync(out) : [])
    .filter((name) => /^checkpoint-\d+$/.test(name))
    .sort((a, b) => Number(a.slice(11)) - Number(b.slice(11)))
    .map((name) => join(out, name));

const began = Date.now();
const whole = [];
for (const variant of variants.keys()) {
  const out = join(work, `whole-${variant}`);
  const start = Date.now();
  await go(out, variant, false);
  if (checkpointsOf(out).length !== 3) throw new Error(`${out}: saveTotalLimit is not kept`);
  whole.push({ ending: JSON.stringify(ending(out)), ms: Date.now() - start });
}

/** Damages one file of the newest checkpoint; only where there is another to go back to. */
const damage = (out) => {
  const dirs = checkpointsOf(out);
  if (dirs.length < 2) return false;
  const newest = dirs[dirs.length - 1];
  const files = readdirSync(newest).sort();
  const file = join(newest, files[below(files.length)]);
  const bytes = readFileSync(file);
  const how = below(3);
  if (how === 0) rmSync(file);
  else if (how === 1) truncateSync(file, below(bytes.length));
  else {
    const at = below(bytes.length);
    bytes[at] ^= 1 << below(8);
    writeFileSync(file, bytes);
  }
  return true;
};

const count = { kills: 0, whileWriting: 0, resumed: 0, damaged: 0, passedOver: 0 };
const resumable = async (out, variant, kill) => {
  const resume = checkpointsOf(out).length > 0;
  const broken = resume && below(5) === 0 && damage(out);
  const outcome = await go(out, variant, resume, kill);
  if (resume) count.resumed++;
  if (broken) count.damaged++;
  if (broken && outcome.said.includes('W_CHECKPOINT_SKIPPED')) count.passedOver++;
  // A process that was killed before it looked has said nothing.
  else if (broken && outcome.finished) throw new Error(`a damaged checkpoint was not noticed: ${out}`);
  return outcome.finished;
};

let same = 0;
let leftovers = 0;
for (let run = 0; run < runs; run++) {
  const variant = run % variants.length;
  const out = join(work, `run-${run}`);
  const times = 1 + below(3);
  let finished = false;
  for (let kill = 0; kill < times && !finished; kill++) {
    const writing = below(2) === 0 ? below(8) : undefined;
    finished = await resumable(out, variant, {
      ...(writing === undefined ? { ms: below(whole[variant].ms * 1.1) } : { writing, ms: below(12) }),
    });
    if (finished) continue;
    count.kills++;
    if (readdirSync(existsSync(out) ? out : work).some((name) => /^\.checkpoint-.*\.tmp$/.test(name)))
      count.whileWriting++;
  }
  if (!finished) await resumable(out, variant);
  const equal = JSON.stringify(ending(out)) === whole[variant].ending;
  if (equal) same++;
  else console.error(`run ${run} (variant ${variant}) ended otherwise: ${out}`);
  leftovers += readdirSync(out).filter((name) => name.endsWith('.tmp')).length;
  if (equal) rmSync(out, { recursive: true, force: true });
}
if (same === runs) rmSync(work, { recursive: true, force: true });
const minutes = Number(((Date.now() - began) / 60000).toFixed(1));
console.log(JSON.stringify({ runs, same, ...count, leftovers, minutes }));
process.exitCode = same === runs && leftovers === 0 ? 0 : 1;
