/** A run is a stream with inputs: here rxjs decides when it has learned enough. Trains a LoRA adapter and writes nothing. */
import { join } from 'node:path';
import { filter, lastValueFrom, map, scan, take } from 'rxjs';
import { jsonl, orThrow, load, sftTrainer } from 'rxtune';

const shop = join(import.meta.dirname, 'quickstart');
const { model, tokenizer } = await orThrow(load(join(shop, 'base')));

const run = sftTrainer(
  {
    model,
    tokenizer,
    trainDataset: jsonl(join(shop, 'train.jsonl')),
    peftConfig: { r: 16, targetModules: 'all-linear' },
  },
  { assistantOnlyLoss: true, maxLength: 256, perDeviceTrainBatchSize: 16, maxSteps: 100, learningRate: 1e-2 },
);

run.begun.subscribe(({ plan, trainableParameters }) =>
  console.log(`${trainableParameters} parameters, at most ${plan.totalSteps} steps`),
);
run.logs
  .pipe(
    scan((mean, { loss }) => 0.7 * mean + 0.3 * loss, 4),
    map((mean, i) => ({ mean, step: i + 1 })),
    filter(({ mean }) => mean < 0.4),
    take(1),
  )
  .subscribe(({ mean, step }) => {
    console.log(`good enough after ${step} steps: ${mean.toFixed(3)}`);
    run.stop();
  });
const last = await lastValueFrom(run);
console.log(`ended at step ${last.step}`);
