/**
 * The other side of torch_generate.py: prompts continued at once, each as a stream of its own.
 *
 * node generate.mjs --model DIR --threads 2
 */
import { createInterface } from 'node:readline';
import { forkJoin, lastValueFrom, toArray } from 'rxjs';
import { generateIds, loadModel, orThrow } from '../../dist/index.js';
import { nativeStatistics } from '../../dist/native/register.js';
import { flags } from '../turns.mjs';

const { model: dir, threads } = flags({ model: '', threads: 2 });
const { model } = await orThrow(loadModel(dir, { engine: 'native', threads, precision: 'float32' }));
const say = (record) => process.stdout.write(`${JSON.stringify(record)}\n`);
say({ ready: true });
for await (const line of createInterface({ input: process.stdin })) {
  const { prompts, tokens } = JSON.parse(line);
  const busy = nativeStatistics()?.busySeconds ?? 0;
  const began = performance.now();
  const texts = prompts.map((ids) =>
    generateIds(model, Int32Array.from(ids), { maxNewTokens: tokens, stopIds: [] }).pipe(toArray()),
  );
  const ids = await lastValueFrom(forkJoin(texts));
  const seconds = (performance.now() - began) / 1000;
  say({ seconds, ids, idle: 1 - ((nativeStatistics()?.busySeconds ?? 0) - busy) / seconds });
}
