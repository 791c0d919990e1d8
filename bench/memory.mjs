/**
 * The memory that a run is estimated to need, against the peak that its process was measured to take: full training and LoRA, with
 * and without checkpointing and accumulation, on a Llama of a small shape with random weights.
 *
 *     npm run bench -- memory [--hidden 384] [--layers 4] [--vocab 4000] [--length 256] [--rows 8]
 */
import { spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSmallLlama } from './ours/smallModel.mjs';
import { flags, here, report, rounded } from './turns.mjs';

const settings = {
  full: {},
  'full, checkpointing': { gradientCheckpointing: true },
  'full, accumulation': { gradientAccumulationSteps: 2 },
  'full, one short row': { perDeviceTrainBatchSize: 1, short: true },
  'full, lion': { optim: 'lion' },
  'full, bfloat16': { precision: 'bfloat16' },
  LoRA: { r: 8 },
  'LoRA on all linear maps': { r: 8, targetModules: 'all-linear' },
  'LoRA, bfloat16': { r: 8, precision: 'bfloat16' },
  'LoRA, checkpointing': { r: 8, gradientCheckpointing: true },
};

const { shape } = flags({ shape: '' });

/** The measured half: a process that trains a few updates and tells its peak. */
const child = async ({ dir, options: { short, ...options }, length, rows, vocab }) => {
  const { needOf } = await import(here('../dist/train/memory/fitMemory.js'));
  const { loadModel, orThrow, sftTrainer } = await import(here('../dist/index.js'));
  const { model } = await orThrow(loadModel(dir, { precision: options.precision }));
  const tokens = short ? 32 : length;
  const trainDataset = Array.from({ length: rows * 2 }, (_, i) => ({
    input_ids: Array.from({ length: tokens }, (__, t) => (7 * i + 3 * t) % vocab),
  }));
  const run = sftTrainer({ model, trainDataset }, { maxLength: length, maxSteps: 2, maxMemory: 0, ...options });
  let need;
  run.begun.subscribe(({ model: trained, config }) => {
    need = needOf(
      trained,
      trainDataset.map(({ input_ids: inputIds }) => ({ inputIds, seqLengths: [inputIds.length] })),
      config,
    );
  });
  await new Promise((resolve, reject) => run.subscribe({ complete: resolve, error: reject }));
  console.log(JSON.stringify({ need, peak: process.resourceUsage().maxRSS * 1024 }));
};

if (shape !== '') await child(JSON.parse(shape));
else {
  const { hidden, layers, vocab, length, rows } = flags({ hidden: 384, layers: 4, vocab: 4000, length: 256, rows: 8 });
  const dir = await mkdtemp(join(tmpdir(), 'rxtune-bench-'));
  try {
    await writeSmallLlama(dir, { vocab, hidden, layers, heads: 8 });
    const measured = {};
    for (const [name, options] of Object.entries(settings)) {
      const given = JSON.stringify({
        dir,
        options: { perDeviceTrainBatchSize: rows, ...options },
        length,
        rows,
        vocab,
      });
      const run = spawn(process.execPath, [fileURLToPath(import.meta.url), '--shape', given], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let out = '';
      run.stdout.setEncoding('utf8').on('data', (text) => (out += text));
      const [code] = await once(run, 'close');
      if (code !== 0) throw new Error(`${name} failed`);
      const { need, peak } = JSON.parse(out);
      measured[name] = { estimated: need.peak, measured: peak, ratio: rounded(need.peak / peak) };
      const megabytes = (bytes) => `${(bytes / 1e6).toFixed(0)} MB`;
      console.log(
        `${name}: estimated ${megabytes(need.peak)}, measured ${megabytes(peak)} (${rounded(need.peak / peak)})`,
      );
      if (process.env.RXTUNE_DEBUG) console.log(need);
    }
    report('memory', {}, { hidden, layers, vocab, length, rows, runs: measured });
    if (Object.values(measured).some(({ ratio }) => Math.abs(ratio - 1) > 0.1)) process.exitCode = 1;
  } finally {
    await rm(dir, { recursive: true });
  }
}
