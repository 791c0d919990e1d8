/**
 * Attention, forward and backward, against torch's scaled_dot_product_attention, in turns on the same cores.
 *
 *     PYTHON=… npm run bench -- attention [--lengths 512,1024,2048] [--heads 12] [--kvHeads 12] [--headDim 64] [--threads 2] [--rounds 7]
 *         [--dtypes float32,bfloat16] [--isa avx512]
 *
 * Causal over one document of each length, and packed: the same tokens as documents of 64 to 512 tokens that do not see each
 * other (torch at its faster way: a call a document, or one call with a mask). Ratios are torch's time over ours, medians of
 * pairs. At bfloat16 torch's tensors are of bfloat16; ours are float32, as a model hands them over, and rounded where they are multiplied.
 * `memory-growth` is what our work space and outputs grow by per doubling of length.
 */
import { createRequire } from 'node:module';
import { flags, here, keptMemory, median, player, python, report, rounded } from './turns.mjs';

const { lengths, heads, kvHeads, headDim, threads, rounds, dtypes, isa } = flags({
  lengths: '512,1024,2048',
  heads: 12,
  kvHeads: 12,
  headDim: 64,
  threads: 2,
  rounds: 7,
  dtypes: 'float32,bfloat16',
  isa: '',
});
const addon = createRequire(import.meta.url)('../native/build/rxtune.node');
const args = new Float64Array(64);
addon.attach(args);
addon.configure(threads, isa);
const [fill, forward, backward, bfloat16] = ['fill', 'attention', 'attentionGrad', 'bfloat16'].map(addon.code);
const call = (code, values, ...arrays) => {
  args.set(values);
  addon.op(code, ...arrays);
};

/** Lengths of documents that fill n tokens, the same on every machine. */
const packed = (n) => {
  const documents = [];
  let left = n;
  for (let i = 0; left > 0; i++) {
    const length = Math.min(left, 64 + ((i * 197) % 449));
    documents.push(length);
    left -= length;
  }
  return documents;
};

/** Our seconds, the median of several, and the bytes that were alive and the work space. */
const ours = (documents, count, dtype) => {
  call(bfloat16, [dtype === 'bfloat16' ? 1 : 0]);
  const n = documents.reduce((sum, length) => sum + length, 0);
  const [q, kv] = [heads * headDim, kvHeads * headDim];
  const borders = Int32Array.from([0, ...documents]);
  for (let i = 1; i < borders.length; i++) borders[i] += borders[i - 1];
  const take = (columns) => {
    const id = addon.take(4 * n * columns);
    call(fill, [n * columns, 0.01, id]);
    return id;
  };
  const all = [q, kv, kv, q, heads, q, q, kv, kv].map(take);
  const [inQ, inK, inV, out, lse, dOut, dQ, dK, dV] = all;
  const sizes = [n, heads, kvHeads, headDim, headDim, headDim ** -0.5, 0, 0, 0];
  const shape = [...sizes, 0, inQ, q, 0, inK, kv, 0, inV, kv, 0, out, lse];
  const run = () => {
    call(forward, [...shape, 0], borders);
    call(backward, [...shape, dOut, dQ, q, 0, dK, kv, 0, dV, kv, 0], borders);
    addon.wait();
  };
  run();
  const times = Array.from({ length: count }, () => {
    const started = performance.now();
    run();
    return (performance.now() - started) / 1000;
  });
  const { bytes, scratchBytes } = addon.statistics();
  for (const id of all) addon.give(id);
  return { seconds: median(times), bytes: bytes + scratchBytes };
};

const torch = await player('torch', python(), [here('reference/torch_attention.py'), '--threads', `${threads}`], {
  OMP_NUM_THREADS: `${threads}`,
  OMP_WAIT_POLICY: 'passive',
  ...keptMemory,
});
const ratios = {};
const details = {};
const sizes = lengths.split(',').map(Number);
for (const dtype of dtypes.split(','))
  for (const [kind, documentsOf] of Object.entries({ causal: (n) => [n], packed })) {
    for (const n of sizes) {
      const documents = documentsOf(n);
      const count = Math.max(1, Math.min(9, Math.round(2e6 / (n * n)) + 1));
      const pairs = [];
      for (let round = 0; round < rounds; round++) {
        const theirs = await torch.turn(JSON.stringify({ documents, heads, kvHeads, headDim, count, dtype }));
        pairs.push([theirs, ours(documents, count, dtype)]);
      }
      const name = dtype === 'float32' ? `${kind}-${n}` : `${dtype}-${kind}-${n}`;
      ratios[name] = rounded(median(pairs.map(([a, b]) => a.seconds / b.seconds)));
      details[name] = {
        theirs: median(pairs.map(([a]) => a.seconds)),
        ours: median(pairs.map(([, b]) => b.seconds)),
        way: pairs[0][0].way,
        bytes: pairs.at(-1)[1].bytes,
      };
      console.log(
        `${name.padEnd(21)} torch ${(1000 * details[name].theirs).toFixed(1)} ms (${details[name].way}), ours ${(1000 * details[name].ours).toFixed(1)} ms, ratio ${ratios[name].toFixed(2)}`,
      );
    }
  }
await torch.end();
const prefix = dtypes.includes('float32') ? '' : `${dtypes.split(',')[0]}-`;
const growth = sizes.slice(1).map((n, i) => {
  const [a, b] = [details[`${prefix}causal-${sizes[i]}`].bytes, details[`${prefix}causal-${n}`].bytes];
  return (b / a) ** (1 / Math.log2(n / sizes[i]));
});
report('attention', ratios, { memoryGrowth: rounded(Math.max(...growth)), details, threads, torch: '2.13' });
