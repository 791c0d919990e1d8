/**
 * Matrix products of training shapes against torch.mm, in turns on the same cores; at float32 against oneDNN too, where torch.mm is
 * another library's (MKL's, slower on some processors).
 *
 *     PYTHON=… npm run bench -- gemm [--threads 1,2] [--dtypes float32,bfloat16] [--rounds 7] [--isa avx2]
 *
 * Ratios are torch's time over ours, the geometric mean over 13 shapes of medians of pairs; `float32-N-threads-onednn` are
 * oneDNN's (which is given every operand as it likes it best, x·wᵀ, the transposing not counted); `bfloat16-over-float32` is our
 * own float32 time over our bfloat16 time.
 */
import { createRequire } from 'node:module';
import { flags, here, keptMemory, median, player, python, report, rounded } from './turns.mjs';

const { threads, dtypes, rounds, isa, only } = flags({
  threads: '1,2',
  dtypes: 'float32,bfloat16',
  rounds: 7,
  isa: '',
  only: '',
});
const interpreter = python();
const addon = createRequire(import.meta.url)('../native/build/rxtune.node');
const args = new Float64Array(64);
addon.attach(args);

/** m, n, k and which operands are stored transposed: x·wᵀ, dy·w and dyᵀ·x of 1024 tokens, and squares. */
const tokens = 1024;
const ofLayer = (name, inner, outer) => [
  { name: `${name} forward`, m: tokens, n: outer, k: inner, ta: false, tb: true },
  { name: `${name} input gradient`, m: tokens, n: inner, k: outer, ta: false, tb: false },
  { name: `${name} weight gradient`, m: outer, n: inner, k: tokens, ta: true, tb: false },
];
const shapes = [
  ...[512, 1024, 1536, 2048].map((n) => ({ name: `${n}³`, m: n, n, k: n, ta: false, tb: false })),
  ...ofLayer('768→3072', 768, 3072),
  ...ofLayer('3072→768', 3072, 768),
  ...ofLayer('768→50257', 768, 50257),
].filter(({ name }) => name.includes(only));

const bfloat16 = addon.code('bfloat16');
const linear = addon.code('linear');
const gradInput = addon.code('linearGradInput');
const gradWeight = addon.code('linearGradWeight');

const call = (code, ...values) => {
  args.set(values);
  addon.op(code);
};

/** Our seconds for one product of several in a row, as a step queues them. The linear ops, since precision is theirs. */
const ours = (shape, count, dtype) => {
  const { m, n, k, ta, tb } = shape;
  const [a, b, c] = [m * k, k * n, m * n].map((size) => addon.take(4 * size));
  const fill = addon.code('fill');
  call(fill, m * k, 0.5, a);
  call(fill, k * n, 0.25, b);
  call(bfloat16, dtype === 'bfloat16' ? 1 : 0);
  const run = () => {
    if (ta) call(gradWeight, k, n, m, 0, 0, b, 0, 0, 0, 0, a, c, 0);
    else if (tb) call(linear, m, k, n, 0, 0, a, 0, b, 0, 0, 0, 0, 0, c);
    else call(gradInput, m, n, k, 0, 0, a, 0, b, 0, 0, 0, 0, 0, 0, c);
  };
  run();
  addon.wait();
  const started = performance.now();
  for (let i = 0; i < count; i++) run();
  addon.wait();
  const seconds = (performance.now() - started) / 1000 / count;
  for (const id of [a, b, c]) addon.give(id);
  return seconds;
};

const geometricMean = (values) => Math.exp(values.reduce((sum, value) => sum + Math.log(value), 0) / values.length);

const ratios = {};
const details = [];
for (const count of threads.split(',').map(Number)) {
  addon.configure(count, isa);
  const torch = await player('torch', interpreter, [here('reference/torch_gemm.py'), '--threads', `${count}`], {
    OMP_NUM_THREADS: `${count}`,
    OMP_WAIT_POLICY: 'passive',
    ...keptMemory, // oneDNN's product makes its result anew each time
  });
  const mean = {};
  for (const dtype of dtypes.split(',')) {
    const all = [];
    const ofOnednn = [];
    const own = [];
    for (const shape of shapes) {
      const work = 2 * shape.m * shape.n * shape.k;
      const repeats = Math.max(1, Math.min(20, Math.round(1e10 / work)));
      const pairs = [];
      for (let round = 0; round < rounds; round++) {
        const turn = async (more) => (await torch.turn(JSON.stringify({ ...shape, repeats, dtype, ...more }))).seconds;
        const theirs = await turn({});
        const mine = ours(shape, repeats, dtype);
        pairs.push([theirs, mine, ...(dtype === 'float32' ? [await turn({ onednn: true })] : [])]);
      }
      const ratio = median(pairs.map(([theirs, mine]) => theirs / mine));
      const speed = (side) => work / median(pairs.map((pair) => pair[side])) / 1e9;
      const [theirs, mine] = [speed(0), speed(1)];
      const detail = { threads: count, dtype, shape: shape.name, theirs: rounded(theirs), ours: rounded(mine) };
      let line = `torch ${theirs.toFixed(1)} GFLOP/s, ours ${mine.toFixed(1)}, ratio ${ratio.toFixed(2)}`;
      if (dtype === 'float32') {
        const toOnednn = median(pairs.map(([, seconds, onednn]) => onednn / seconds));
        detail.onednn = rounded(speed(2));
        line += `; oneDNN ${speed(2).toFixed(1)}, ratio ${toOnednn.toFixed(2)}`;
        ofOnednn.push(toOnednn);
      }
      console.log(`${count} threads ${dtype} ${shape.name.padEnd(26)} ${line}`);
      all.push(ratio);
      own.push(mine);
      details.push(detail);
    }
    ratios[`${dtype}-${count}-threads`] = rounded(geometricMean(all));
    if (ofOnednn.length > 0) ratios[`${dtype}-${count}-threads-onednn`] = rounded(geometricMean(ofOnednn));
    mean[dtype] = geometricMean(own);
  }
  if (mean.float32 && mean.bfloat16)
    ratios[`bfloat16-over-float32-${count}-threads`] = rounded(mean.bfloat16 / mean.float32);
  await torch.end();
}
report('gemm', ratios, { isa: addon.info().isa, rounds, details, torch: '2.13' });
