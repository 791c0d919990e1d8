/**
 * The other side of torch_step.py: the public trainer, a step a line.
 *
 * node step.mjs --model DIR --mode full|lora --precision float32|bfloat16 --batch 2 --seq 512 --threads 2
 * The run is held between steps. Rows are made beforehand from the same generator as the other side's ids.
 */
import { loadModel, orThrow, sftTrainer } from '../../dist/index.js';
import { flags } from '../turns.mjs';
import { tokenRows } from '../rows.mjs';
import { takingTurns } from './turn.mjs';

const {
  model: dir,
  mode,
  precision,
  batch,
  seq,
  threads,
  steps,
} = flags({
  model: '',
  mode: 'full',
  precision: 'float32',
  batch: 2,
  seq: 512,
  threads: 2,
  steps: 64,
});
/** As the other side's. */
const targets = { gpt2: ['c_attn'], mamba: ['in_proj', 'x_proj'] };
const { model } = await orThrow(loadModel(dir, { engine: 'native', threads, precision }));
const run = sftTrainer(
  {
    model,
    trainDataset: tokenRows(batch * steps, seq, model.config.vocabSize).map((ids) => ({ input_ids: ids, labels: ids })),
  },
  {
    maxSteps: steps,
    perDeviceTrainBatchSize: batch,
    maxLength: seq,
    learningRate: 1e-5,
    lrSchedulerType: 'constant',
    shuffle: false,
    ...(mode === 'lora'
      ? { r: 16, loraAlpha: 32, targetModules: targets[model.config.modelType] ?? ['q_proj', 'v_proj'] }
      : {}),
  },
);
takingTurns(run);
