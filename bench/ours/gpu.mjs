/**
 * The other side of reference/torch_gpu.py: the public trainer on a card, several steps a line of standard input.
 *
 * node gpu.mjs --model DIR --mode full|lora|qlora --batch 8 --seq 2048 --steps 4 --turns 6
 * Says {ready}, then for each line {seconds, losses, peak_bytes, idle, javascript, launches, refused}: of all its steps, with everything on the
 * card done. `peak_bytes`: the engine's tensors at most, and its work space. `idle`: the share in which the engine's thread had no
 * operation to start. `launches`: kernels and products started a step; `refused`: products of these that cublasLt did not do. Rows are made beforehand from the generator of rows.mjs.
 */
import { createInterface } from 'node:readline';
import { tensor1d } from '@tensorflow/tfjs-core';
import { loadModel, orThrow, sftTrainer } from '../../dist/index.js';
import { nativeStatistics } from '../../dist/native/register.js';
import { tokenRows } from '../rows.mjs';
import { flags } from '../turns.mjs';

const {
  model: dir,
  mode,
  batch,
  seq,
  steps,
  turns,
} = flags({ model: '', mode: 'full', batch: 8, seq: 2048, steps: 4, turns: 6 });
const four = mode === 'qlora' ? { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true } : {};
const { model } = await orThrow(loadModel(dir, { engine: 'native', device: 'cuda', precision: 'bfloat16', ...four }));
// One step more than is asked for: the passes of a step begin before the one before is told, so the last turn would have one less.
const wanted = steps * turns + 1;
const run = sftTrainer(
  {
    model,
    trainDataset: tokenRows(batch * wanted, seq, model.config.vocabSize).map((ids) => ({
      input_ids: ids,
      labels: ids,
    })),
  },
  {
    maxSteps: wanted,
    perDeviceTrainBatchSize: batch,
    maxLength: seq,
    learningRate: 1e-5,
    lrSchedulerType: 'constant',
    shuffle: false,
    ...(mode === 'full' ? {} : { r: 16, loraAlpha: 32, targetModules: 'all-linear' }),
  },
);

const say = (record) => process.stdout.write(`${JSON.stringify(record)}\n`);
/** Returns when everything that was started has run on the card. */
const finish = () => {
  const one = tensor1d([1]);
  one.dataSync();
  one.dispose();
};
let began = 0;
let before = {};
let losses = [];
run.pause();
run.begun.subscribe(() => say({ ready: true }));
createInterface({ input: process.stdin }).on('line', () => {
  finish();
  losses = [];
  before = { ...nativeStatistics(), loop: performance.eventLoopUtilization() };
  began = performance.now();
  run.resume();
});
run.subscribe({
  next: ({ loss }) => {
    losses.push(loss);
    if (losses.length < steps) return;
    run.pause();
    finish();
    const seconds = (performance.now() - began) / 1000;
    const { active } = performance.eventLoopUtilization(before.loop);
    const { peakBytes, scratchBytes, busySeconds, launches, refusedProducts } = nativeStatistics();
    say({
      seconds,
      losses,
      peak_bytes: peakBytes + scratchBytes,
      idle: Math.max(0, 1 - (busySeconds - before.busySeconds) / seconds),
      javascript: active / 1000 / seconds,
      launches: (launches - before.launches) / steps,
      refused: (refusedProducts - before.refusedProducts) / steps,
    });
  },
  error: (error) => {
    console.error(error);
    process.exit(1);
  },
  // Not by process.exit, which leaves no time to write what RXTUNE_CUDA_TRACE asks for.
  complete: () => process.stdin.destroy(),
});
