/**
 * Two programs that take turns: each is a child process that prints {"ready": true} and then answers every line it is given
 * with one JSON line. Taking turns puts a noisy machine's noise on both sides; the figure is the median of pairwise ratios.
 */
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

export const here = (path) => fileURLToPath(new URL(path, import.meta.url));

/** The interpreter that has torch, transformers, peft and trl; a bench that needs it says so when PYTHON is not set. */
export const python = () => {
  const interpreter = process.env.PYTHON;
  if (interpreter === undefined) {
    console.error(
      'Set PYTHON to an interpreter that has torch, transformers, peft, trl and datasets: ' +
        'python3 -m venv venv && venv/bin/pip install torch transformers peft trl datasets',
    );
    process.exit(2);
  }
  return interpreter;
};

/**
 * The reference's way of keeping freed memory instead of giving it back to the system after each step and faulting it in again:
 * glibc's settings, for the reason PyTorch's tuning guide names other allocators. Where faults are dear it halves a step.
 */
export const keptMemory = {
  MALLOC_MMAP_MAX_: '0',
  MALLOC_TRIM_THRESHOLD_: '68719476736',
  MALLOC_TOP_PAD_: '268435456',
};

/**
 * Starts a program and resolves when it says it is ready, or ends it where that takes more than so many seconds. `turn(line)` sends a line
 * and resolves with the answer.
 */
export const player = async (name, command, args, env = {}, seconds = undefined) => {
  const child = spawn(command, args, {
    stdio: ['pipe', 'pipe', process.env.BENCH_VERBOSE ? 'inherit' : 'pipe'],
    env: { ...process.env, TOKENIZERS_PARALLELISM: 'true', ...env },
  });
  // What it says last, if it does not say it here already.
  const last = [];
  if (child.stderr !== null)
    createInterface({ input: child.stderr }).on('line', (line) => {
      if (line.trim() !== '') last.splice(0, Math.max(0, last.push(line.trim()) - 4));
    });
  const why = () => (last.length === 0 ? '; BENCH_VERBOSE=1 shows why' : `: ${last.join(' | ').slice(-600)}`);
  const waiting = [];
  const early = [];
  const answer = (value) => {
    const next = waiting.shift();
    if (next === undefined) early.push(value);
    else next(value);
  };
  createInterface({ input: child.stdout }).on('line', (line) => {
    if (line.startsWith('{')) answer(JSON.parse(line));
  });
  const gone = new Promise((done) => child.on('exit', done));
  child.stdin.on('error', () => undefined);
  // Not before all is read that it said.
  child.on('close', (code) => {
    for (const next of waiting.splice(0)) next({ failed: code });
  });
  child.on('error', (error) => last.push(error.message));
  const heard = () => (early.length > 0 ? Promise.resolve(early.shift()) : new Promise((done) => waiting.push(done)));
  const timer =
    seconds === undefined
      ? undefined
      : setTimeout(() => {
          last.push(`not ready in ${seconds.toFixed(0)} s`);
          child.kill('SIGKILL');
        }, seconds * 1000);
  const ready = await heard();
  clearTimeout(timer);
  if (ready.failed !== undefined) throw new Error(`${name} did not start (exit code ${ready.failed})${why()}`);
  return {
    name,
    ready,
    turn: async (line = '') => {
      child.stdin.write(`${line}\n`);
      const said = await heard();
      if (said.failed !== undefined) throw new Error(`${name} ended early (exit code ${said.failed})${why()}`);
      return said;
    },
    end: () => {
      child.stdin.end();
      child.kill('SIGTERM');
      return gone;
    },
  };
};

/** Runs a program to its end and resolves with its last JSON line. */
export const once = (command, args, env = {}) =>
  new Promise((done, fail) => {
    const child = spawn(command, args, {
      stdio: ['ignore', 'pipe', process.env.BENCH_VERBOSE ? 'inherit' : 'ignore'],
      env: { ...process.env, TOKENIZERS_PARALLELISM: 'true', ...env },
    });
    let last;
    createInterface({ input: child.stdout }).on('line', (line) => {
      if (line.startsWith('{')) last = JSON.parse(line);
    });
    child.on('close', (code) => {
      if (code === 0 && last !== undefined) done(last);
      else fail(new Error(`${command} ${args[0]} failed (exit code ${code}); BENCH_VERBOSE=1 shows why`));
    });
  });

export const median = (values) => {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
};

export const rounded = (value) => Number(value.toPrecision(4));

/** Flags of a bench script: `--name value` pairs and bare `--name`. */
export const flags = (defaults) => {
  const given = { ...defaults };
  const args = process.argv.slice(2);
  for (let i = 0; i < args.length; i++) {
    const name = args[i].replace(/^--/, '');
    if (!(name in defaults)) {
      console.error(
        `unknown option ${args[i]}; known: ${Object.keys(defaults)
          .map((key) => `--${key}`)
          .join(' ')}`,
      );
      process.exit(2);
    }
    const fallback = defaults[name];
    given[name] = typeof fallback === 'boolean' ? true : typeof fallback === 'number' ? Number(args[++i]) : args[++i];
  }
  return given;
};

/** The last line of every bench script: one JSON object with `ratios` (theirs over ours: above 1, ours is better). */
export const report = (bench, ratios, details = {}) => {
  for (const [name, ratio] of Object.entries(ratios)) console.log(`${name.padEnd(36)} ${ratio.toFixed(2)} x`);
  console.log(JSON.stringify({ bench, ratios, ...details }));
};
