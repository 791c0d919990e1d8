/** A loss of your own: a student learns what its teacher holds likely, whole distributions of the next token, not one answer. */
import { join } from 'node:path';
import { log, logSoftmax, mul, slice, softmax, sub, sum, type Tensor } from '@tensorflow/tfjs-core';
import { lastValueFrom } from 'rxjs';
import { jsonl, load, logits, orThrow, sftTrainer, type ComputeLoss } from 'rxtune';

const shop = join(import.meta.dirname, 'quickstart');
const trainDataset = jsonl(join(shop, 'train.jsonl'));
const options = { assistantOnlyLoss: true, maxLength: 256, perDeviceTrainBatchSize: 16, maxSteps: 50, seed: 7 };

const { model: teacher, tokenizer } = await orThrow(load(join(shop, 'base')));
const learned = await lastValueFrom(
  sftTrainer({ model: teacher, tokenizer, trainDataset }, { ...options, learningRate: 3e-3 }),
);
console.log(`the teacher's loss is ${learned.loss.toFixed(2)}`);

/** KL(teacher ‖ student) of each row. */
const apart = (p: Tensor, own: Tensor): Tensor => sum(mul(p, sub(log(p), logSoftmax(own))), 1);
const askTeacher: ComputeLoss = ({ sequence, targets }) => {
  const answers = softmax(logits(teacher, sequence, targets.rows)); // [M, V], once a micro-batch
  return (own, { first, labels: { length } }) => {
    const p = slice(answers, [first, 0], [length, -1]);
    return { loss: apart(p, own), gradient: sub(softmax(own), p) };
  };
};

const { model: student } = await orThrow(load(join(shop, 'base')));
const peftConfig = { r: 16, targetModules: 'all-linear' };
const run = sftTrainer(
  { model: student, tokenizer, trainDataset, peftConfig, computeLoss: askTeacher },
  { ...options, learningRate: 1e-2, loggingSteps: 10 },
);
run.logs.subscribe(({ step, loss }) => console.log(`step ${step}  loss ${loss.toFixed(3)}`));
await lastValueFrom(run);
