/**
 * A run of a small model whose kernels take next to no time: what its JavaScript costs.
 *
 * node dispatch.mjs --model DIR --mode full|lora --precision float32|bfloat16 --tokens 64 --steps 200
 * Says {milliseconds, operations}, each of one step: CPU time of JavaScript's thread, and calls into the engine.
 */
import { readFileSync } from 'node:fs';
import { loadModel, orThrow, sftTrainer } from '../../dist/index.js';
import { nativeStatistics } from '../../dist/native/register.js';
import { tokenRows } from '../rows.mjs';
import { flags } from '../turns.mjs';

const {
  model: dir,
  mode,
  precision,
  tokens,
  steps,
} = flags({ model: '', mode: 'full', precision: 'bfloat16', tokens: 64, steps: 200 });

/** Milliseconds of CPU that this thread has had: as Node.js tells them from 23.9 on, before that as Linux does. */
const threadTime = () => {
  if (process.threadCpuUsage !== undefined) {
    const { user, system } = process.threadCpuUsage();
    return (user + system) / 1e3;
  }
  return Number(readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')[0]) / 1e6;
};

// The compiler is done with what a step runs.
const warmUp = 60;
const { model } = await orThrow(loadModel(dir, { engine: 'native', threads: 1, precision }));
const rows = tokenRows(warmUp + steps, tokens, model.config.vocabSize);
let before;
sftTrainer(
  { model, trainDataset: rows.map((ids) => ({ input_ids: ids, labels: ids })) },
  {
    maxSteps: warmUp + steps,
    perDeviceTrainBatchSize: 1,
    maxLength: tokens,
    learningRate: 1e-4,
    ...(mode === 'lora' ? { r: 4, loraAlpha: 8, targetModules: 'all-linear' } : {}),
  },
).subscribe({
  next: ({ step }) => {
    if (step !== warmUp && step !== warmUp + steps) return;
    const now = { milliseconds: threadTime(), operations: nativeStatistics().operations };
    if (step === warmUp) before = now;
    else {
      const each = Object.entries(now).map(([name, value]) => [name, (value - before[name]) / steps]);
      console.log(JSON.stringify(Object.fromEntries(each)));
    }
  },
  error: (cause) => {
    console.error(cause);
    process.exitCode = 1;
  },
});
