/** The other side of trl_sft.py: the same rows through `sftTrainer`, a step a line. */
import { jsonl, load, orThrow, sftTrainer } from '../../dist/index.js';
import { flags } from '../turns.mjs';
import { takingTurns } from './turn.mjs';

const {
  model: dir,
  data,
  mode,
  precision,
  settings,
  steps,
  batch,
  threads,
} = flags({
  model: '',
  data: '',
  mode: 'full',
  precision: 'float32',
  settings: 'default',
  steps: 6,
  batch: 8,
  threads: 2,
});
const { model, tokenizer } = await orThrow(load(dir, { engine: 'native', threads, precision }));
const run = sftTrainer(
  { model, tokenizer, trainDataset: jsonl(data) },
  {
    maxSteps: steps,
    preparedCache: false,
    perDeviceTrainBatchSize: batch,
    learningRate: mode === 'lora' ? 1e-4 : 2e-5,
    lrSchedulerType: 'linear',
    maxLength: 1024,
    shuffle: false,
    groupByLength: settings === 'best',
    ...(mode === 'lora'
      ? { r: 16, loraAlpha: 32, targetModules: model.config.modelType === 'gpt2' ? ['c_attn'] : ['q_proj', 'v_proj'] }
      : {}),
  },
);
takingTurns(run);
