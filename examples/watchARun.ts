/** The streams of a run composed: a moving mean, a rate that falls when evaluation rises, a stop at a plateau, a table of answers. */
import { join } from 'node:path';
import { bufferCount, filter, lastValueFrom, map, pairwise, scan, take, withLatestFrom } from 'rxjs';
import { jsonl, load, orThrow, sftTrainer } from 'rxtune';

const shop = join(import.meta.dirname, 'quickstart');
const { model, tokenizer } = await orThrow(load(join(shop, 'base')));
const [trainDataset, evalDataset] = [jsonl(join(shop, 'train.jsonl')), jsonl(join(shop, 'heldout.jsonl'))];
const run = sftTrainer(
  { model, tokenizer, trainDataset, evalDataset, peftConfig: { r: 8, targetModules: 'all-linear' } },
  {
    ...{ assistantOnlyLoss: true, maxLength: 256, perDeviceTrainBatchSize: 8, maxSteps: 300 },
    ...{ learningRate: 2e-2, lrSchedulerType: 'constant', evalSteps: 20, evalSamples: 3 },
  },
);
const fixed = (x: number): string => x.toFixed(3);
const evalLosses = run.evaluations.pipe(map(({ loss }) => loss));

// The mean of ten log rows, every five.
run.logs.pipe(bufferCount(10, 5)).subscribe((rows) => {
  if (rows.length < 10) return;
  const mean = rows.reduce((sum, { loss }) => sum + loss, 0) / rows.length;
  console.log(`step ${rows.at(-1)?.step}  mean loss ${fixed(mean)}`);
});

// Where an evaluation is worse than the one before, half the rate from there on.
evalLosses
  .pipe(
    pairwise(),
    filter(([before, now]) => now > before),
    withLatestFrom(run.logs),
  )
  .subscribe(([[before, now], { learningRate }]) => {
    console.log(`evaluation rose from ${fixed(before)} to ${fixed(now)}: rate ${learningRate / 2}`);
    run.setLearningRate(learningRate / 2);
  });

// Three evaluations that are not clearly better than the best: enough.
evalLosses
  .pipe(
    scan(({ best, since }, now) => (now < best - 0.05 ? { best: now, since: 0 } : { best, since: since + 1 }), {
      best: Infinity,
      since: 0,
    }),
    filter(({ since }) => since === 3),
    take(1),
  )
  .subscribe(({ best }) => {
    console.log(`little better than ${fixed(best)} in three evaluations`);
    run.stop();
  });

const answers = lastValueFrom(run.samples);
const { step } = await lastValueFrom(run);
console.log(`ended at step ${step}`);
for (const { expected, text } of (await answers).samples) {
  console.log(`${text === expected ? 'same ' : 'other'} | ${expected} | ${text}`);
}
