// What a process holds after 100 and after 500 steps of LoRA training, and after 100 and 500 batches of generated texts of which one is
// left early: tensors and their bytes, the JavaScript heap after a collection, resident memory. What grows with the count leaks.
// Usage: node --expose-gc reference/leaks.mjs [model directory ...]   Needs `npm run build` (and `node native/build.mjs`).
import { resolve } from 'node:path';
import { memory } from '@tensorflow/tfjs-core';
import { firstValueFrom, forkJoin, lastValueFrom, take, tap, toArray } from 'rxjs';
import { chooseEngine, generateIds, loadModel, orThrow, sftTrainer } from 'rxtune';

const root = resolve(import.meta.dirname, '..');
const named = ['llama', 'mamba', 'jamba', 'gemma3'].map((name) => resolve(root, 'test', 'golden', 'models', name));
const models = process.argv.length > 2 ? process.argv.slice(2) : named;
const marks = [100, 200, 300, 400, 500];

const held = () => {
  globalThis.gc?.();
  const { numTensors, numBytes } = memory();
  const { rss, heapUsed, external } = process.memoryUsage();
  const mib = (bytes) => Number((bytes / 2 ** 20).toFixed(1));
  return { tensors: numTensors, tensorMiB: mib(numBytes), heapMiB: mib(heapUsed + external), rssMiB: mib(rss) };
};
const tell = (what, count) => console.log(JSON.stringify({ what, count, ...held() }));

await orThrow(chooseEngine({}));
const rows = Array.from({ length: 64 }, (_, i) => ({
  input_ids: Array.from({ length: 5 + ((7 * i) % 23) }, (_, t) => 3 + ((5 * i + 3 * t) % 30)),
}));

for (const dir of models) {
  const name = dir.replace(/^.*[\\/]/, '');
  const { model } = await orThrow(loadModel(dir));
  const run = sftTrainer(
    { model, trainDataset: rows },
    { maxSteps: 500, usePeft: true, r: 4, perDeviceTrainBatchSize: 4, loggingSteps: 10, learningRate: 1e-4 },
  );
  await lastValueFrom(
    run.pipe(tap(({ step }) => (marks.includes(step) ? tell(`${name}, steps of LoRA training`, step) : undefined))),
  );
  for (let batch = 1; batch <= 500; batch++) {
    const prompt = (i) => Int32Array.from({ length: 3 + ((batch + i) % 9) }, (_, t) => 3 + ((batch + 2 * i + t) % 30));
    const texts = [0, 1, 2, 3].map((i) =>
      generateIds(model, prompt(i), { maxNewTokens: 8 }).pipe(take(i === 0 ? 2 : 99), toArray()),
    );
    await firstValueFrom(forkJoin(texts));
    if (marks.includes(batch)) tell(`${name}, batches of 4 texts`, batch);
  }
}
