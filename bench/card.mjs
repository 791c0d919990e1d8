/**
 * What a step on a card starts, moves and holds, counted without one: launches, products, bytes and operations of real shapes, and the time that
 * they would take at a card's rates. The engine's CUDA device runs against the emulated driver, which computes nothing and adds up what
 * each kernel has to read and write (native/cuda/test/moved.h, which `npm run test:cuda` compares with what kernels touch).
 *
 *     npm run bench -- card [--lines llama-1.1b-lora,…] [--seq 2048] [--batch 0] [--kernels]
 *
 * A model of two layers and one of three are run; the others are as the one between first and last. `--kernels` tells each kernel's
 * share. Rates: the bfloat16 product and the copy that were measured on an H100 and an H200, 80 % of the product's (60 % for GPT-2's narrow
 * ones); for attention 300 TFLOP/s, a guess: an H200 reached 370 to 520 forwards; of products with an adapter's rank the bytes count.
 * Nothing overlaps and nothing waits. Scans read and write at the copy's rate, compute at 150 TFLOP/s and take 4 µs a chunk where chunks come
 * one after the other; Mamba's raise 3e12 powers a second: guesses too.
 */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { compileMock, mockImage } from '../native/cuda/compile.mjs';
import { operationsPerToken, shapes as plainShapes } from './gpu/shapes.mjs';
import { shapes as hybridShapes } from './hybridShapes.mjs';
import { shapes as mixtureShapes } from './mixtureShapes.mjs';
import { flags, here } from './turns.mjs';

const shapes = { ...plainShapes, ...hybridShapes, ...mixtureShapes };
const asked = flags({
  lines:
    'llama-1.1b-lora,llama-1.1b-qlora,llama-1.1b-full,gpt2-124m-lora,gpt2-124m-full,olmoe-7b-lora,olmoe-7b-full,olmoe-7b-experts-lora,qwen3-30b-a3b-lora,qwen3.5-0.8b-lora,qwen3.5-0.8b-full,granite4-350m-lora,granite4-350m-full,mamba-1.4b-lora,mamba-1.4b-full,youtu-2b-lora,youtu-2b-full',
  seq: 2048,
  batch: 0,
  kernels: false,
});
const cards = [
  { name: 'H100', operations: 790e12, bytes: 3.0e12 },
  { name: 'H200', operations: 790e12, bytes: 4.3e12 },
];
const attentionRate = 300e12;
const scanRate = 150e12;
const powersPerSecond = 3e12;
const chunkSeconds = 4e-6;
const chunkTokens = 64;

const mock = await compileMock();
if (mock === undefined) {
  console.log('no C++ compiler (g++ or clang++) found: nothing was counted');
  process.exit(0);
}
const folder = mkdtempSync(join(tmpdir(), 'rxtune-card-'));

/** {step, peak} of a model with so many layers: see ours/card.mjs. */
const counted = (shape, mode, layers, batch) =>
  JSON.parse(
    execFileSync(
      process.execPath,
      [
        here('ours/card.mjs'),
        ...['--shape', shape, '--mode', mode, '--layers', `${layers}`, '--batch', `${batch}`, '--seq', `${asked.seq}`],
        ...['--folder', folder],
      ],
      {
        encoding: 'utf8',
        stdio: ['ignore', 'pipe', 'inherit'],
        env: {
          ...process.env,
          RXTUNE_LIBCUDA: mock,
          RXTUNE_LIBCUBLASLT: mock,
          RXTUNE_CUDA_KERNELS: mockImage,
          // named, it is not checked first: nothing is computed here
          RXTUNE_CUDA_ATTENTION: 'wgmma',
          RXTUNE_MOCK_COUNT: join(folder, 'count.json'),
          RXTUNE_MOCK_MEMORY: `${2 ** 40}`,
        },
      },
    ),
  );

const kindOf = (name) =>
  name === 'product'
    ? 'products'
    : name === 'thin product'
      ? 'thin'
      : /adapter/.test(name)
        ? 'thin'
        : /adamw|squared_norm|sum_doubles/.test(name)
          ? 'optimizer'
          : /flash|hopper|attention_(grad|f32|bf16)/.test(name)
            ? 'attention'
            : /rx_(delta|space|selective)/.test(name)
              ? 'scans'
              : 'between';
const sum = (counts, pick) => Object.entries(counts).reduce((total, [name, count]) => total + pick(name, count), 0);
const starts = (counts) => sum(counts, (name, [times]) => (name === 'memset' || name === 'plan' ? 0 : times));
const bytesOf = (counts, kind) =>
  sum(counts, (name, [, read, written]) => (kindOf(name) === kind ? read + written : 0));
const operationsOf = (counts, kind) => sum(counts, (name, [, , , done]) => (kindOf(name) === kind ? done : 0));

/** Of what scans compute, the powers of Mamba's, which no tensor core takes. */
const powersOf = (counts) => sum(counts, (name, [, , , done]) => (/rx_selective/.test(name) ? done : 0));

const rows = [];
try {
  for (const line of asked.lines.split(',')) {
    const at = line.lastIndexOf('-');
    const [name, mode] = [line.slice(0, at), line.slice(at + 1)];
    const shape = shapes[name];
    if (shape === undefined) throw new Error(`no shape "${name}"; there are ${Object.keys(shapes).join(', ')}`);
    const batch = asked.batch || shape.batch;
    const [{ step: two, peak: peakOfTwo }, { step: three, peak: peakOfThree }] = [2, 3].map((layers) =>
      counted(name, mode, layers, batch),
    );
    const names = [...new Set([...Object.keys(two), ...Object.keys(three)])].sort();
    const none = [0, 0, 0, 0];
    const layer = {};
    const all = {};
    for (const kernel of names) {
      const [fewer, more] = [two[kernel] ?? none, three[kernel] ?? none];
      layer[kernel] = more.map((value, i) => value - fewer[i]);
      all[kernel] = fewer.map((value, i) => value + (shape.layers - 2) * layer[kernel][i]);
    }
    const tokens = batch * asked.seq;
    const found = {
      line,
      launches: Math.round(starts(all)),
      launchesPerLayer: Math.round(starts(layer)),
      productTeraOperations: operationsOf(all, 'products') / 1e12,
      attentionTeraOperations: operationsOf(all, 'attention') / 1e12,
      gigabytes: bytesOf(all, 'between') / 1e9,
      scanTeraOperations: (operationsOf(all, 'scans') - powersOf(all)) / 1e12,
      scanTeraPowers: powersOf(all) / 1e12,
      scanGigabytes: bytesOf(all, 'scans') / 1e9,
      scansOneByOne: sum(all, (kernel, [times]) => (/_scan/.test(kernel) ? times : 0)),
      thinGigabytes: bytesOf(all, 'thin') / 1e9,
      optimizerGigabytes: bytesOf(all, 'optimizer') / 1e9,
      peakGibibytes: (peakOfTwo + (shape.layers - 2) * (peakOfThree - peakOfTwo)) / 2 ** 30,
    };
    for (const card of cards) {
      const products = (found.productTeraOperations * 1e12) / (card.operations * (name.startsWith('gpt2') ? 0.6 : 0.8));
      const attention = (found.attentionTeraOperations * 1e12) / attentionRate;
      const scans =
        (found.scanTeraOperations * 1e12) / scanRate +
        (found.scanTeraPowers * 1e12) / powersPerSecond +
        (found.scanGigabytes * 1e9) / card.bytes +
        found.scansOneByOne * Math.ceil(asked.seq / chunkTokens) * chunkSeconds;
      const seconds =
        products +
        attention +
        scans +
        ((found.gigabytes + found.thinGigabytes + found.optimizerGigabytes) * 1e9) / card.bytes;
      found[card.name] = {
        productsMs: products * 1e3,
        attentionMs: attention * 1e3,
        scansMs: scans * 1e3,
        tokensPerSecond: tokens / seconds,
        share: ((tokens / seconds) * operationsPerToken(shape, asked.seq, mode)) / card.operations,
      };
    }
    rows.push(found);
    console.log(JSON.stringify(found));
    if (asked.kernels)
      for (const kernel of names.sort((a, b) => all[b][1] + all[b][2] - all[a][1] - all[a][2])) {
        const [times, read, written, done] = all[kernel];
        console.log(
          `  ${kernel.padEnd(26)} ${times.toFixed(0).padStart(6)} ${((read + written) / 1e9).toFixed(2).padStart(8)} GB ${(done / 1e12).toFixed(2).padStart(8)} T  a layer: ${layer[kernel][0].toFixed(0).padStart(4)} ${((layer[kernel][1] + layer[kernel][2]) / 1e6).toFixed(1).padStart(8)} MB`,
        );
      }
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}

const cell = (found, card) =>
  `${Math.round(found[card].tokensPerSecond / 1000)},000, ${(100 * found[card].share).toFixed(0)} %`;
console.log(
  [
    [
      'line',
      'products',
      'attention',
      'scans',
      'bytes between kernels',
      "of an adapter's products",
      'optimizer',
      'H100: tokens/s, share of the rate',
      'H200',
      'launches',
      'a layer',
      'memory at most',
    ],
    Array(12).fill('---'),
    ...rows.map((found) => [
      found.line,
      `${found.H100.productsMs.toFixed(0)} ms`,
      `${found.H100.attentionMs.toFixed(0)} ms`,
      `${found.H100.scansMs.toFixed(0)} ms`,
      `${found.gigabytes.toFixed(0)} GB`,
      `${found.thinGigabytes.toFixed(0)} GB`,
      `${found.optimizerGigabytes.toFixed(1)} GB`,
      cell(found, 'H100'),
      cell(found, 'H200'),
      found.launches,
      found.launchesPerLayer,
      `${found.peakGibibytes.toFixed(2)} GiB`,
    ]),
  ]
    .map((cells) => `| ${cells.join(' | ')} |`)
    .join('\n'),
);
