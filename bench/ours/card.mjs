/**
 * One step of a model of a shape, as the emulated card counts it (bench/card.mjs sets it up): prints {step, peak}, {kernel: [times, bytes
 * read, bytes written, operations]} and the bytes of the engine's tensors at most, with its work space.
 *
 * node card.mjs --shape llama-1.1b --mode full|lora|qlora --layers 2 --batch 4 --seq 2048 --folder DIR [--checkpointing]
 */
import { mkdirSync, openSync, closeSync, ftruncateSync, readFileSync, writeFileSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { tensor1d } from '@tensorflow/tfjs-core';
import { loadModel, orThrow, sftTrainer } from '../../dist/index.js';
import { nativeStatistics } from '../../dist/native/register.js';
import * as plain from '../gpu/shapes.mjs';
import * as hybrid from '../hybridShapes.mjs';
import * as mixture from '../mixtureShapes.mjs';
import { tokenRows } from '../rows.mjs';
import { flags } from '../turns.mjs';

const models = { ...plain.models, ...hybrid.models, ...mixture.models };
const shapes = { ...plain.shapes, ...hybrid.shapes, ...mixture.shapes };

const { shape, mode, layers, batch, seq, folder, checkpointing } = flags({
  shape: '',
  mode: 'lora',
  layers: 1,
  batch: 1,
  seq: 2048,
  folder: '',
  checkpointing: false,
});

/** A checkpoint whose matrices are a hole in the file: zeros that take no room. Vectors are ones: a gain of 0 is like no other. */
const { config, tensors } = models[shape](layers);
const dir = join(folder, `${shape}-${layers}`);
mkdirSync(dir, { recursive: true });
let end = 0;
const header = Object.fromEntries(
  Object.entries(tensors).map(([name, dims]) => {
    const begin = end;
    end += 2 * dims.reduce((a, b) => a * b, 1);
    return [name, { dtype: 'BF16', shape: dims, data_offsets: [begin, end] }];
  }),
);
const text = Buffer.from(JSON.stringify(header));
const length = Buffer.alloc(8);
length.writeBigUInt64LE(BigInt(text.length));
const file = openSync(join(dir, 'model.safetensors'), 'w');
writeSync(file, length);
writeSync(file, text);
ftruncateSync(file, 8 + text.length + end);
for (const {
  shape: dims,
  data_offsets: [begin],
} of Object.values(header))
  if (dims.length === 1)
    writeSync(file, Buffer.from(new Uint16Array(dims[0]).fill(0x3f80).buffer), 0, 2 * dims[0], 8 + text.length + begin);
closeSync(file);
writeFileSync(join(dir, 'config.json'), JSON.stringify(config));

const four = mode === 'qlora' ? { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true } : {};
const { model } = await orThrow(loadModel(dir, { engine: 'native', device: 'cuda', precision: 'bfloat16', ...four }));
const steps = 4;
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
    gradientCheckpointing: checkpointing,
    ...(mode === 'full' ? {} : { r: 16, loraAlpha: 32, targetModules: shapes[shape].loraTargets ?? 'all-linear' }),
  },
);
const counts = [];
run.subscribe({
  next: () => {
    const one = tensor1d([1]);
    one.dataSync();
    one.dispose();
    counts.push(JSON.parse(readFileSync(process.env.RXTUNE_MOCK_COUNT, 'utf8')));
  },
  error: (error) => {
    console.error(error);
    process.exit(1);
  },
  complete: () => {
    // The first step is not like the others: moments begin.
    const [before, after] = counts.slice(-2);
    const step = Object.fromEntries(
      Object.entries(after).map(([name, values]) => [name, values.map((value, i) => value - (before[name]?.[i] ?? 0))]),
    );
    const { peakBytes, scratchBytes } = nativeStatistics();
    console.log(JSON.stringify({ step, peak: peakBytes + scratchBytes }));
    process.exit(0);
  },
});
