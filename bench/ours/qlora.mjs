/**
 * A short run of one kind, for qlora.mjs: prints its losses and the most memory that it held.
 *
 * node qlora.mjs --model DIR --mode full|lora|qlora --steps 12 --batch 2 --seq 256 --threads 2
 */
import { readFileSync } from 'node:fs';
import { loadModel, orThrow, sftTrainer } from '../../dist/index.js';
import { nativeStatistics } from '../../dist/native/register.js';
import { flags } from '../turns.mjs';
import { tokenRows } from '../rows.mjs';

const {
  model: dir,
  mode,
  steps,
  batch,
  seq,
  threads,
  rate,
} = flags({
  model: '',
  mode: 'full',
  steps: 12,
  batch: 2,
  seq: 256,
  threads: 2,
  rate: 1e-3,
});
const four = mode === 'qlora' ? { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true } : {};
const { model } = await orThrow(loadModel(dir, { engine: 'native', threads, ...four }));
// A few rows again and again: there is something to learn, and the loss falls.
const rows = tokenRows(2 * batch, seq, model.config.vocabSize);
const run = sftTrainer(
  {
    model,
    trainDataset: Array.from({ length: batch * steps }, (_, i) => rows[i % rows.length]).map((ids) => ({
      input_ids: ids,
      labels: ids,
    })),
  },
  {
    maxSteps: steps,
    perDeviceTrainBatchSize: batch,
    maxLength: seq,
    learningRate: rate,
    lrSchedulerType: 'constant',
    shuffle: false,
    ...(mode === 'full' ? {} : { r: 16, loraAlpha: 32, targetModules: 'all-linear' }),
  },
);
const losses = [];
await new Promise((done, failed) =>
  run.subscribe({ next: ({ loss }) => losses.push(loss), error: failed, complete: done }),
);
const [, kilobytes] = /VmHWM:\s+(\d+)/.exec(readFileSync('/proc/self/status', 'utf8')) ?? [];
console.log(
  JSON.stringify({
    losses,
    engine_peak_bytes: nativeStatistics().peakBytes,
    process_peak_bytes: 1024 * Number(kilobytes),
  }),
);
