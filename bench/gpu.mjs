/**
 * All that a card can show, in one call of under 8 minutes: checks first, then times.
 *
 *     npm run bench -- gpu [--out DIR] [--seconds 450] [--lines gpt2-124m-lora,…] [--seq 2048] [--steps 4] [--rounds 5] [--trace]
 *     npm run bench -- gpu --dry            every part on an emulated card and torch's CPU, tiny shapes: tests this script, times nothing
 *     npm run bench -- gpu --pack FILE      everything needed, in one archive (some 48 MB), for a machine without Node.js and network
 *
 * 1. build    the engine, the kernels (nvcc: CUDA_HOME, PATH, pip's nvidia-cuda-nvcc), the check; what is built already is taken
 * 2. kernels  every kernel against the processor's on random data: float32 to 1e-4, bfloat16 to 1e-2 of the norm
 * 3. models   the tests of models and ops, RXTUNE_TEST_ENGINE=native RXTUNE_TEST_DEVICE=cuda
 * 4. rate     what the card reaches in a bfloat16 product, by torch's cublasLt and by this engine's, in copies, and in attention, by mma and
 *             by wgmma (operations a second)
 * 5. lines    GPT-2 124M and Llama 1.1B, full, LoRA and QLoRA, bfloat16, rows of 2048 tokens: tokens a second, memory at its peak, the
 *             share of the measured rate; against the bare loop of PyTorch (reference/torch_gpu.py) on the same card, in turns. QLoRA
 *             needs bitsandbytes there; where it is not, the line has our side alone, and says so. --trace: after each line our side
 *             again, alone, and what its step is made of (gpu/trace.mjs)
 *
 * Every part has its own end in time; DIR/gpu.json ($OUT, or else a folder of the system's for temporary files) is written again after
 * every part and every line, gpu.log as it goes. Exit code: 0 all checks passed and all lines were measured; 1 a check failed; 2 there
 * is no card; 3 cut or incomplete.
 *
 * What fails takes nothing else with it. A kernel that stops the card ends its process: the checks after it run in another one. Where wgmma
 * does that, all goes on by mma. Where PyTorch fails, is not there or leaves no room on the card, the line has our side alone, from a
 * checkpoint that this script makes (gpu/checkpoint.mjs). Products that cublasLt does not do are counted, and named in the line's note.
 *
 * On a bare machine (no Node.js, no network; python3 with torch, transformers, peft; a driver of release 580 or later) the archive is
 * all that must be carried; it has Node.js, the packages, the engine, the fatbin and the compiled check, of this platform, linked
 * against this machine's C library. There:
 *
 *     mkdir -p /tmp/rxtune && python3 -m tarfile -e rxtune-gpu.tar.xz /tmp/rxtune && cd /tmp/rxtune && ./node bench/gpu.mjs
 *
 * What does not start there is compiled there, where g++ (engine, check) and nvcc (kernels) are found. cublasLt is looked for where the
 * engine looks, then beside PYTHON's torch. PYTHON: python3 unless set. bitsandbytes, not always there, can be carried as a wheel and
 * put on PYTHONPATH. Some 12 GB of disk and memory are used for checkpoints with random weights; nothing is downloaded.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { createWriteStream, existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus, tmpdir, totalmem } from 'node:os';
import { join, resolve } from 'node:path';
import { pack } from './gpu/pack.mjs';
import { part, tail, within } from './gpu/part.mjs';
import { operationsPerToken, shapes } from './gpu/shapes.mjs';
import { summary } from './gpu/trace.mjs';
import { tokenRows } from './rows.mjs';
import { flags, here, median, player, rounded } from './turns.mjs';

const began = performance.now();
const asked = flags({
  out: process.env.OUT ?? join(tmpdir(), 'rxtune-gpu'),
  seconds: 450,
  lines: '',
  seq: 0,
  batch: 0,
  steps: 0,
  rounds: 0,
  only: 'build,kernels,models,rate,lines',
  pack: '',
  dry: false,
  trace: false,
});
const root = resolve(here('..'));
if (asked.pack !== '') {
  const bytes = pack(root, asked.pack);
  console.log(`${asked.pack}: ${(bytes / 2 ** 20).toFixed(1)} MiB`);
  process.exit(0);
}

const { dry } = asked;
const size = {
  seq: asked.seq || (dry ? 32 : 2048),
  steps: asked.steps || (dry ? 2 : 4),
  rounds: asked.rounds || (dry ? 1 : 5),
};
// What matters most first: a cut takes the last ones.
const lines = (
  asked.lines ||
  (dry
    ? 'llama-tiny-lora,gpt2-tiny-full,llama-tiny-qlora'
    : 'llama-1.1b-lora,gpt2-124m-full,llama-1.1b-qlora,llama-1.1b-full,gpt2-124m-lora,gpt2-124m-qlora')
).split(',');
const wanted = new Set(asked.only.split(','));
const interpreter = process.env.PYTHON ?? 'python3';
const torch = here('reference/torch_gpu.py');
const torchDevice = dry ? 'cpu' : 'cuda';

const out = resolve(asked.out);
mkdirSync(out, { recursive: true });
const log = createWriteStream(join(out, 'gpu.log'));
const tell = (text) => {
  console.log(text);
  log.write(`${text}\n`);
};
const logged = (text) => log.write(`${text}\n`);
const spent = () => (performance.now() - began) / 1000;
/** At most so many seconds, and never more than are left. */
const share = (seconds) => Math.max(1, Math.min(seconds, asked.seconds - spent()));

const result = { bench: 'gpu', dry, size, machine: {}, parts: {}, lines: [] };
const save = () => {
  const path = join(out, 'gpu.json');
  writeFileSync(`${path}.new`, `${JSON.stringify({ ...result, seconds: rounded(spent()) }, undefined, 1)}\n`);
  renameSync(`${path}.new`, path);
};
/** Runs a part unless it was not asked for or no time is left; what it throws is its result. */
const section = async (name, run) => {
  if (!wanted.has(name)) return;
  const from = spent();
  const left = asked.seconds - from;
  tell(`-- ${name} (${from.toFixed(0)} s)`);
  let found;
  if (!opens) found = { state: 'not run', why: 'the card was not opened' };
  else if (left < 5) found = { state: 'not run', why: 'no time was left' };
  else
    try {
      found = await run();
    } catch (error) {
      found = { state: 'failed', why: error.message };
    }
  result.parts[name] = { ...found, seconds: rounded(spent() - from) };
  tell(`   ${found.state}${found.why === undefined ? '' : `: ${found.why}`} (${(spent() - from).toFixed(0)} s)`);
  save();
};

// ---- where things are ----

const firstLine = (command, args) => {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', timeout: 20_000 });
  return status === 0 ? stdout.trim().split('\n').at(-1) : undefined;
};
const packed = existsSync(join(root, 'packed.json'));
const built = (name) => join(root, 'native', 'build', name);
const environment = {};
const useEmulatedCard = () => {
  const mock = execFileSync(process.execPath, [join(root, 'native/cuda/compile.mjs'), 'mock'], {
    encoding: 'utf8',
  }).trim();
  if (!existsSync(mock)) throw new Error(mock);
  Object.assign(environment, {
    RXTUNE_LIBCUDA: mock,
    RXTUNE_LIBCUBLASLT: mock,
    RXTUNE_CUDA_KERNELS: built('cuda/emulated.image'),
    RXTUNE_MOCK_MEMORY: String(16 * 2 ** 30),
  });
};
/** pip's packages: the compiler, and the library that torch brings along. */
const findInPython = () => {
  const script =
    'import glob, json, sysconfig; p = sysconfig.get_path("purelib"); f = lambda *n: [x for y in n for x in glob.glob(p + "/nvidia/" + y)]; ' +
    'print(json.dumps({"nvcc": f("cu1*/bin/nvcc", "cuda_nvcc/bin/nvcc"), "blas": f("cu1*/lib/libcublasLt.so.1*", "cublas/lib/libcublasLt.so.1*")}))';
  const { nvcc, blas } = JSON.parse(firstLine(interpreter, ['-c', script]) ?? '{"nvcc":[],"blas":[]}');
  if (nvcc.length > 0 && process.env.CUDA_HOME === undefined)
    environment.PATH = `${process.env.PATH}:${join(nvcc[0], '..')}`;
  if (blas.length > 0 && process.env.RXTUNE_LIBCUBLASLT === undefined) environment.RXTUNE_LIBCUBLASLT = blas[0];
};

const machine = () => {
  const card = dry
    ? 'emulated'
    : firstLine('nvidia-smi', ['--query-gpu=name,memory.total,driver_version', '--format=csv,noheader']);
  result.machine = {
    card: card ?? 'none',
    processor: cpus()[0]?.model,
    threads: availableParallelism(),
    memoryGiB: Math.round(totalmem() / 2 ** 30),
    node: process.version,
    ...(packed ? { packed: JSON.parse(readFileSync(join(root, 'packed.json'), 'utf8')) } : {}),
  };
  tell(JSON.stringify(result.machine));
  save();
};

// ---- checkpoints with random weights, made while the checks run ----

const checkpoints = join(tmpdir(), `rxtune-gpu-${process.pid}`);
/** 'gpt2-124m-lora': its shape and its mode. */
const partsOf = (name) => [name.slice(0, name.lastIndexOf('-')), name.slice(name.lastIndexOf('-') + 1)];
const shapesOf = (names) => [...new Set(names.map((name) => partsOf(name)[0]))];
const made = new Map();
const makeCheckpoints = () => {
  let before = Promise.resolve();
  for (const shape of shapesOf(lines)) {
    const folder = join(checkpoints, shape);
    before = before.then(async () => {
      const theirs = await part(interpreter, [torch, 'make', shape, folder], { seconds: share(150), line: logged });
      if (theirs.code === 0) return theirs;
      rmSync(folder, { recursive: true, force: true });
      return part(process.execPath, [here('gpu/checkpoint.mjs'), shape, folder], { seconds: share(90), line: logged });
    });
    made.set(
      shape,
      before.then(({ code, output }) => {
        if (code !== 0) throw new Error(`no checkpoint of ${shape}: ${tail(output, 2).join(' ')}`);
        return folder;
      }),
    );
    made.get(shape).catch(() => undefined);
  }
};

// ---- the parts ----

/** What cannot open the card has nothing to check, and leaves its time to another try. */
let opens = true;

const build = async () => {
  const steps = [];
  const must = async (what, command, args, seconds) => {
    const { code, cut, output } = await part(command, args, {
      seconds: share(seconds),
      env: environment,
      line: logged,
    });
    steps.push(`${what}: ${cut ? 'cut' : code === 0 ? tail(output, 1)[0] : `failed (${code})`}`);
    tell(`   ${steps.at(-1)}`);
    if (code !== 0) throw new Error(`${what}: ${tail(output, 3).join(' | ')}`);
  };
  if (!existsSync(join(root, 'dist', 'index.js')) && !packed)
    await must(
      'types',
      process.execPath,
      [join(root, 'node_modules/@typescript/native/bin/tsc'), '-p', 'tsconfig.build.json'],
      90,
    );
  const loads = () =>
    firstLine(process.execPath, ['-e', `require(${JSON.stringify(built('rxtune.node'))}); console.log('loads')`]);
  if (!packed || loads() === undefined) await must('engine', process.execPath, [join(root, 'native/build.mjs')], 150);
  else steps.push('engine: as carried');
  if (dry) steps.push('kernels: emulated');
  else if (!existsSync(built('rxtune.fatbin')) || !packed)
    await must('kernels', process.execPath, [join(root, 'native/cuda/compile.mjs'), 'kernels'], 90);
  else steps.push('kernels: as carried');
  const opened = await doctor();
  if (opened.works) return { state: 'passed', steps, doctor: opened.told };
  // An error of the card ends a process that opens it to try wgmma: what does without is checked and measured then.
  if (environment.RXTUNE_CUDA_ATTENTION === undefined && (opened.cut || /attention by wgmma fails/.test(opened.told))) {
    environment.RXTUNE_CUDA_ATTENTION = 'mma';
    const again = await doctor();
    tell(`   by mma alone: ${again.told}`);
    opens = again.works;
    return { state: 'failed', steps, why: opened.told, doctor: again.told };
  }
  opens = false;
  return { state: 'failed', steps, why: opened.told };
};

/** What the engine says of the card, and whether it opens it. */
const doctor = async () => {
  const { cut, output } = await part(process.execPath, [join(root, 'dist/cli/main.js'), 'doctor'], {
    // The first one reads half a gigabyte of cublasLt.
    seconds: share(dry ? 300 : 60),
    env: environment,
    line: logged,
  });
  const told = output.find((text) => /^cuda\b/.test(text)) ?? (tail(output, 2).join(' | ') || 'it said nothing');
  return { told, cut, works: /^cuda +\+/.test(told) };
};

/** The compiled check: as carried, where it starts; what was linked on another machine and does not is built here. */
const check = async (options, seconds, line) => {
  const carried = built('cuda/check-plain');
  const blas = environment.RXTUNE_LIBCUBLASLT;
  const limits = { seconds: share(seconds), env: environment, line };
  const way = environment.RXTUNE_CUDA_ATTENTION ?? process.env.RXTUNE_CUDA_ATTENTION;
  const given = [
    ...options,
    ...(dry || blas === undefined ? [] : [`--blas=${blas}`]),
    ...(way === undefined ? [] : [`--attention=${way}`]),
  ];
  if (packed && !dry && existsSync(carried)) {
    const ran = await part(carried, [`--image=${built('rxtune.fatbin')}`, ...given], limits);
    if (ran.cut || ran.output.some((text) => /compute capability|^no card/.test(text))) return ran;
  }
  return part(process.execPath, [join(root, 'native/cuda/test.mjs'), ...(dry ? [] : ['--card']), ...given], {
    ...limits,
    seconds: share(seconds),
  });
};

const kernels = async () => {
  const rounds = dry ? 1 : 12;
  const from = spent();
  const rows = [];
  let running;
  const line = (text) => {
    logged(text);
    const [, started] = /^(\w+) +$/.exec(text) ?? [];
    running = started ?? running;
    const [, name, verdict, worst] = /^(\w+) +(ok|FAILED) .*error ([\d.e+-]+)/.exec(text) ?? [];
    if (name === undefined) return;
    running = undefined;
    rows.push({ name, passed: verdict === 'ok', largestError: Number(worst) });
    tell(`   ${name.padEnd(14)} ${verdict === 'ok' ? '' : 'FAILED '}${Number(worst).toExponential(1)}`);
  };
  const only = dry ? ['--only=norms,rope'] : [];
  let ran;
  // A card does nothing more for a process after an error: what was not checked yet is checked by another one.
  for (let after = []; after !== undefined; ) {
    running = undefined;
    ran = await check([`--rounds=${rounds}`, ...only, ...after], (dry ? 3000 : 90) - (spent() - from), line);
    after = undefined;
    if (running === undefined || ran.cut || rows.some(({ name }) => name === running)) continue;
    rows.push({ name: running, passed: false, why: tail(ran.output, 1).join('') });
    tell(`   ${running.padEnd(14)} FAILED, and ended the check: ${rows.at(-1).why}`);
    after = [`--after=${running}`];
  }
  const failed = rows.filter(({ passed }) => !passed).map(({ name }) => name);
  const state = failed.length > 0 || (ran.code !== 0 && !ran.cut) ? 'failed' : ran.cut ? 'cut' : 'passed';
  return {
    state,
    rounds,
    rows,
    ...(state === 'passed' ? {} : { why: failed.join(', ') || tail(ran.output, 6).join(' | ') }),
  };
};

/** What tells most first: each run has its own end. */
const suites = dry
  ? [['test/model/rope.test.ts']]
  : [
      [
        'test/model/goldenModels.test.ts',
        'test/model/quantize',
        'test/model/adapter.test.ts',
        'property-tests/model/kernels',
      ],
      ['test/model', 'property-tests/model'],
    ];
const models = async () => {
  const files = new Map();
  const failures = [];
  let cut = false;
  for (const paths of suites) {
    const from = spent();
    const run = await part(
      process.execPath,
      [
        join(root, 'node_modules/jest/bin/jest.js'),
        '--watchman=false',
        ...['-w', String(dry ? 1 : Math.max(1, Math.min(6, availableParallelism() - 2)))],
        ...paths,
      ],
      {
        // Lines are what the rest of the time is for.
        seconds: dry ? share(3000) : Math.max(5, Math.min(share(70), asked.seconds - spent() - 230)),
        cwd: root,
        env: {
          ...environment,
          RXTUNE_TEST_ENGINE: 'native',
          RXTUNE_TEST_DEVICE: 'cuda',
          NODE_OPTIONS: '--experimental-vm-modules',
        },
        line: (text) => {
          logged(text);
          const [, verdict, file] = /^(PASS|FAIL) (\S+)/.exec(text) ?? [];
          if (file !== undefined) files.set(file, verdict === 'PASS');
          if (/^ {2}● /.test(text)) failures.push(text.slice(4));
        },
      },
    );
    cut ||= run.cut;
    if (files.size === 0 && !run.cut) return { state: 'failed', why: tail(run.output, 6).join(' | ') };
    tell(
      `   ${[...files.values()].filter(Boolean).length} of ${files.size} test files pass so far (${(spent() - from).toFixed(0)} s)`,
    );
  }
  const failed = [...files].filter(([, passed]) => !passed).map(([file]) => file);
  return {
    state: failed.length > 0 ? 'failed' : cut ? 'cut' : 'passed',
    files: Object.fromEntries(files),
    ...(failed.length > 0
      ? { why: failed.join(', '), failures: failures.slice(0, 20) }
      : cut
        ? { why: 'not all files were run' }
        : {}),
  };
};

let measuredRate;
const rate = async () => {
  const theirs = await part(interpreter, [torch, 'rate', '--device', torchDevice], {
    seconds: share(dry ? 300 : 45),
    line: logged,
  });
  const said = theirs.output.findLast((text) => text.startsWith('{'));
  const torchRate = said === undefined ? undefined : JSON.parse(said);
  const ours = await check([`--rate=${dry ? 64 : 8192}`], dry ? 3000 : 45, logged);
  // By each way of computing it that the card has: what RXTUNE_CUDA_ATTENTION chooses from.
  const attention = ours.output.flatMap((text) => {
    const [, columns, way, forwards, backwards] =
      /^attention of (\d+) columns by (\w+): ([\d.e+-]+) forwards, ([\d.e+-]+) backwards/.exec(text) ?? [];
    if (columns === undefined) return [];
    tell(`   ${text}`);
    return [{ columns: Number(columns), way, forwards: Number(forwards), backwards: Number(backwards) }];
  });
  const [, engineRate] = /bfloat16 product: ([\d.e+-]+) operations/.exec(ours.output.join('\n')) ?? [];
  const rates = [torchRate?.operations_per_second, engineRate === undefined ? undefined : Number(engineRate)].filter(
    Boolean,
  );
  if (rates.length === 0) return { state: 'failed', why: tail([...theirs.output, ...ours.output], 4).join(' | ') };
  // The card's rate is the best that was seen on it.
  measuredRate = Math.max(...rates);
  return {
    state: 'passed',
    torch: torchRate,
    engineOperationsPerSecond: engineRate === undefined ? undefined : Number(engineRate),
    operationsPerSecond: measuredRate,
    attention,
  };
};

/** A line, with PyTorch's side unless it is told why there is none. */
const line = async (name, without) => {
  const [shapeName, mode] = partsOf(name);
  const shape = shapes[shapeName];
  if (shape === undefined) throw new Error(`no shape of this name; there are ${Object.keys(shapes).join(', ')}`);
  const { seq, steps, rounds } = size;
  const batch = asked.batch || shape.batch;
  const folder = await within(share(dry ? 3000 : 120), made.get(shapeName), `the checkpoint of ${shapeName}`);
  const turns = rounds + 1;
  const common = [
    '--model',
    folder,
    '--mode',
    mode,
    ...['--batch', `${batch}`],
    ...['--seq', `${seq}`],
    ...['--steps', `${steps}`],
  ];
  const starting = await Promise.allSettled([
    without === undefined
      ? player('PyTorch', interpreter, [torch, 'step', ...common, '--device', torchDevice], {}, share(dry ? 3000 : 75))
      : Promise.reject(new Error(without)),
    player(
      'rxtune',
      process.execPath,
      [here('ours/gpu.mjs'), ...common, '--turns', `${turns}`],
      environment,
      share(dry ? 3000 : 75),
    ),
  ]);
  const [theirs, ours] = starting.map(({ value }) => value);
  let absent = starting[0].status === 'rejected' ? starting[0].reason.message : theirs.ready.unavailable;
  const end = (side) => within(10, side?.end() ?? Promise.resolve(), 'ending').catch(() => undefined);
  const beside = () => theirs !== undefined && absent === undefined;
  if (ours === undefined) {
    await end(theirs);
    throw Object.assign(starting[1].reason, { beside: beside() });
  }
  const rows = tokenRows(batch * steps * turns, seq, shape.vocabulary);
  const pairs = [];
  let cut;
  const theirTurn = async (limit, turn) => {
    const ids = rows.slice(turn * batch * steps, (turn + 1) * batch * steps).flat();
    try {
      return await within(limit, theirs.turn(JSON.stringify(ids)), `${name}, PyTorch's turn`);
    } catch (error) {
      // Ours goes on.
      absent = error.message;
      await end(theirs);
      return undefined;
    }
  };
  try {
    for (let turn = 0; turn < turns && cut === undefined; turn++) {
      const limit = share(dry ? 3000 : 60);
      if (limit < 5 && turn > 0) cut = 'no time was left';
      else
        try {
          const a = absent === undefined ? await theirTurn(limit, turn) : undefined;
          const b = await within(limit, ours.turn(), `${name}, our turn`);
          logged(JSON.stringify({ name, turn, theirs: a, ours: b }));
          if (turn > 0) pairs.push([a, b]);
          else if (a !== undefined) pairs.firstLosses = [a.losses[0], b.losses[0]];
        } catch (error) {
          cut = error.message;
        }
    }
  } finally {
    await Promise.all([theirs, ours].map(end));
  }
  if (pairs.length === 0) throw Object.assign(new Error(cut ?? 'nothing was measured'), { beside: beside() });
  const tokens = batch * seq * steps;
  const operations = operationsPerToken(shape, seq, mode);
  const side = (values) => {
    const seconds = median(values.map((value) => value.seconds));
    const perSecond = tokens / seconds;
    return {
      tokensPerSecond: rounded(perSecond),
      peakGiB: rounded(Math.max(...values.map((value) => value.peak_bytes)) / 2 ** 30),
      share: measuredRate === undefined ? undefined : rounded((perSecond * operations) / measuredRate),
      seconds: values.map((value) => rounded(value.seconds)),
    };
  };
  const both = pairs.filter(([a]) => a !== undefined);
  const found = {
    name,
    batch,
    ours: side(pairs.map(([, b]) => b)),
    launchesPerStep: pairs.at(-1)[1].launches,
    refusedPerStep: pairs.at(-1)[1].refused,
    idle: rounded(median(pairs.map(([, b]) => b.idle))),
    javascript: rounded(median(pairs.map(([, b]) => b.javascript))),
    ...(both.length > 0
      ? {
          theirs: side(both.map(([a]) => a)),
          ratio: rounded(median(both.map(([a, b]) => a.seconds / b.seconds))),
          memory: rounded(both.at(-1)[1].peak_bytes / Math.max(1, both.at(-1)[0].peak_bytes)),
          firstLosses: pairs.firstLosses,
        }
      : {}),
    ...(absent === undefined ? {} : { absent }),
    ...(cut === undefined ? {} : { cut }),
  };
  result.lines.push(found);
  save();
  return found;
};

/** What a step of ours is made of, on a card that has nothing else to do. */
const traced = async (name) => {
  const [shapeName, mode] = partsOf(name);
  const file = join(out, `${name}.trace`);
  const turns = 3;
  const ours = await player(
    'rxtune',
    process.execPath,
    [
      here('ours/gpu.mjs'),
      ...['--model', await made.get(shapeName), '--mode', mode, '--seq', `${size.seq}`],
      ...['--batch', `${asked.batch || shapes[shapeName].batch}`, '--steps', `${size.steps}`, '--turns', `${turns}`],
    ],
    { ...environment, RXTUNE_CUDA_TRACE: file },
    share(dry ? 3000 : 75),
  );
  try {
    for (let turn = 0; turn < turns; turn++) await within(share(dry ? 3000 : 60), ours.turn(), `${name}, traced`);
    // The line after the last turn ends it; it writes what is left before it goes.
    await within(
      15,
      ours.turn().catch(() => undefined),
      `${name}, its trace`,
    );
    for (const text of summary(readFileSync(file, 'utf8'), { steps: size.steps, rows: 24 }).split('\n'))
      tell(`   ${text}`);
  } finally {
    await within(10, ours.end(), 'ending').catch(() => undefined);
    rmSync(file, { force: true });
  }
};

const columns = [
  'line',
  'tokens/s',
  'PyTorch',
  'ratio',
  'peak GiB',
  'PyTorch',
  'ratio',
  'of the rate',
  'PyTorch',
  'launches',
  'note',
];
const percent = (value) => (value === undefined ? '' : `${(100 * value).toFixed(1)} %`);
const row = (found) =>
  found.failed !== undefined
    ? [found.name, ...Array(9).fill(''), found.failed]
    : [
        found.name,
        found.ours.tokensPerSecond.toFixed(0),
        found.theirs?.tokensPerSecond.toFixed(0) ?? '',
        found.ratio?.toFixed(2) ?? '',
        found.ours.peakGiB.toFixed(2),
        found.theirs?.peakGiB.toFixed(2) ?? '',
        dry ? '' : (found.memory?.toFixed(2) ?? ''),
        percent(found.ours.share),
        percent(found.theirs?.share),
        found.launchesPerStep.toFixed(0),
        [
          found.cut,
          found.absent,
          found.refusedPerStep > 0 ? `${found.refusedPerStep} products a step without cublasLt` : undefined,
        ]
          .filter(Boolean)
          .join('; '),
      ];
const table = () =>
  [columns, columns.map(() => '---'), ...result.lines.map(row)].map((cells) => `| ${cells.join(' | ')} |`).join('\n');

const main = async () => {
  machine();
  if (dry) useEmulatedCard();
  else findInPython();
  if (!dry && result.machine.card === 'none' && !existsSync('/dev/nvidiactl')) {
    tell('there is no card: nothing was checked or measured (--dry runs this script on an emulated one)');
    process.exitCode = 2;
    return;
  }
  const about = await part(interpreter, [torch, 'about'], { seconds: share(dry ? 300 : 60), line: logged });
  const said = about.output.findLast((text) => text.startsWith('{'));
  result.machine.python =
    said === undefined
      ? { absent: tail(about.output, 2).join(' | ') || `${interpreter} ended with code ${about.code}` }
      : JSON.parse(said);
  tell(JSON.stringify(result.machine.python));
  if (wanted.has('lines')) makeCheckpoints();
  await section('build', build);
  await section('kernels', kernels);
  await section('models', models);
  await section('rate', rate);
  await section('lines', async () => {
    for (const name of lines) {
      if (asked.seconds - spent() < (dry ? 5 : 25)) {
        result.lines.push({ name, failed: 'no time was left' });
        continue;
      }
      try {
        let found;
        try {
          found = await line(name);
        } catch (error) {
          // The card may have no room for both.
          logged(`${name}: ${error.message}`);
          if (!error.beside || asked.seconds - spent() < (dry ? 5 : 25)) throw error;
          tell(`   ${name}, without PyTorch beside it, since: ${error.message}`);
          found = await line(name, `not beside PyTorch: ${error.message}`);
        }
        tell(`   ${row(found).join('  ')}`);
        if (asked.trace) await traced(name).catch((error) => tell(`   ${error.message}`));
      } catch (error) {
        result.lines.push({ name, failed: error.message });
        tell(`   ${name}: ${error.message}`);
      }
      save();
    }
    const whole = result.lines.every((each) => each.failed === undefined && each.cut === undefined);
    return { state: whole ? 'passed' : 'incomplete' };
  });
  tell(table());
  const states = Object.values(result.parts).map(({ state }) => state);
  process.exitCode = states.includes('failed') ? 1 : states.every((state) => state === 'passed') ? 0 : 3;
};

try {
  await main();
} finally {
  save();
  rmSync(checkpoints, { recursive: true, force: true });
  console.log(
    JSON.stringify({
      bench: 'gpu',
      out,
      parts: Object.fromEntries(Object.entries(result.parts).map(([k, v]) => [k, v.state])),
    }),
  );
  log.end();
}
