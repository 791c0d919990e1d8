/**
 * All that a card can show, in one call of at most 7 minutes: checks first, then times.
 *
 *     npm run bench -- gpu [--out DIR] [--seconds 420] [--lines gpt2-124m-lora,…] [--seq 2048] [--steps 4] [--rounds 4] [--trace]
 *     npm run bench -- gpu --dry            every part on an emulated card and torch's CPU, tiny shapes: tests this script, times nothing
 *     npm run bench -- gpu --pack FILE [--python DIR]    everything needed, in one archive, for a machine without Node.js and network
 *
 * 1. build    the engine, the kernels (nvcc: CUDA_HOME, PATH, pip's nvidia-cuda-nvcc), the check; what is built already is taken
 * 2. ways     attention by mma and by wgmma against the processor's: a line a width and shape with the relative errors of the output and
 *             of the gradients of queries, keys and values, so that a kernel that is wrong on a card is named at once
 * 3. kernels  every kernel against the processor's on random data: float32 to 1e-4, bfloat16 to 1e-2 of the norm
 * 4. models   the tests of models and ops, RXTUNE_TEST_ENGINE=native RXTUNE_TEST_DEVICE=cuda
 * 5. rate     what the card reaches in a bfloat16 product, by torch's cublasLt and by this engine's, in copies, and in attention, by mma and
 *             by wgmma (operations a second)
 * 6. lines    GPT-2 124M and Llama 1.1B, full, LoRA and QLoRA, bfloat16, rows of 2048 tokens: tokens a second, memory at its peak, the
 *             share of the measured rate; against the bare loop of PyTorch (reference/torch_gpu.py) on the same card, in turns. QLoRA
 *             needs bitsandbytes there; where it is not, the line has our side alone, and says so. --trace: after each line our side
 *             again, alone, and what its step is made of (gpu/trace.mjs)
 *
 * Every part has its own end in time; DIR/gpu.json ($OUT, or else a folder of the system's for temporary files) is written again after
 * every part and every line, gpu.log as it goes, so that a call that is cut off keeps what it had. Exit code: 0 all checks passed and all
 * lines were measured; 1 a check failed; 2 there is no card; 3 cut or incomplete.
 *
 * What fails takes nothing else with it. A kernel that stops the card ends its process: the checks after it run in another one. Where wgmma
 * does that, all goes on by mma. Where PyTorch fails, is not there or leaves no room on the card, the line has our side alone, from a
 * checkpoint that this script makes (gpu/checkpoint.mjs). Products that cublasLt does not do are counted, and named in the line's note.
 *
 * On a bare machine (no Node.js, no network; python3 with torch, transformers, peft; a driver of release 580 or later) the archive is
 * all that must be carried; it has Node.js, the packages, the engine, the fatbin and the compiled check, of this platform, linked
 * against this machine's C library, and, of --python DIR, Python packages that are not there, such as bitsandbytes. There:
 *
 *     mkdir -p /tmp/rxtune && python3 -m tarfile -e rxtune-gpu.tar.xz /tmp/rxtune && cd /tmp/rxtune && ./node bench/gpu.mjs
 *
 * What does not start there is compiled there, where g++ (engine, check) and nvcc (kernels) are found. cublasLt is looked for where the
 * engine looks, then beside PYTHON's torch. PYTHON: python3 unless set. Some 12 GB of disk and memory are used for checkpoints with random
 * weights; nothing is downloaded.
 */
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { build } from './gpu/build.mjs';
import { makeCheckpoints, removeCheckpoints } from './gpu/checkpoints.mjs';
import { kernels, models, ways } from './gpu/checks.mjs';
import { lines, shapesOf } from './gpu/lines.mjs';
import { lookAround, root } from './gpu/machine.mjs';
import { pack } from './gpu/pack.mjs';
import { endParts } from './gpu/part.mjs';
import { rate } from './gpu/rate.mjs';
import { openSession } from './gpu/session.mjs';
import { flags } from './turns.mjs';

const began = performance.now();
const given = flags({
  out: process.env.OUT ?? join(tmpdir(), 'rxtune-gpu'),
  seconds: 0,
  lines: '',
  seq: 0,
  batch: 0,
  steps: 0,
  rounds: 0,
  only: 'build,ways,kernels,models,rate,lines',
  pack: '',
  python: '',
  dry: false,
  trace: false,
});
if (given.pack !== '') {
  const bytes = pack(root, given.pack, given.python);
  console.log(`${given.pack}: ${(bytes / 2 ** 20).toFixed(1)} MiB`);
  process.exit(0);
}

const session = openSession({ ...given, seconds: given.seconds || (given.dry ? 3000 : 420) }, began);
// What matters most first: a cut takes the last ones.
const names = (
  given.lines ||
  (given.dry
    ? 'llama-tiny-lora,gpt2-tiny-full,llama-tiny-qlora'
    : 'llama-1.1b-lora,gpt2-124m-full,llama-1.1b-qlora,llama-1.1b-full,gpt2-124m-lora,gpt2-124m-qlora')
).split(',');

const main = async () => {
  if (!(await lookAround(session))) {
    session.tell('there is no card: nothing was checked or measured (--dry runs this script on an emulated one)');
    return 2;
  }
  if (session.wants('lines')) session.checkpoints = makeCheckpoints(session, shapesOf(names));
  await session.section('build', build);
  await session.section('ways', ways);
  await session.section('kernels', kernels);
  await session.section('models', models);
  await session.section('rate', rate);
  await session.section('lines', lines(names));
  const states = Object.values(session.result.parts).map(({ state }) => state);
  return states.includes('failed') ? 1 : states.every((state) => state === 'passed') ? 0 : 3;
};

const finish = () => {
  session.save();
  endParts();
  removeCheckpoints();
  const parts = Object.entries(session.result.parts).map(([name, { state }]) => [name, state]);
  console.log(JSON.stringify({ bench: 'gpu', out: session.out, parts: Object.fromEntries(parts) }));
};
for (const signal of ['SIGTERM', 'SIGINT'])
  process.on(signal, () => {
    finish();
    process.exit(3);
  });

try {
  process.exitCode = await main();
} finally {
  finish();
}
