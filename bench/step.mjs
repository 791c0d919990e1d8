/**
 * A whole training step through the public trainer against PyTorch at its best CPU settings, step by step in turns.
 *
 *     PYTHON=… npm run bench -- step [--shape gpt2-124m|llama-135m|qwen3.5-half|lfm2-350m|…] [--only full-float32,lora-float32] [--rounds 5]
 *
 * Ratios are PyTorch's time over ours (median over pairs); `…-memory` is its peak resident memory over ours. PyTorch runs as it is
 * and with an allocator that keeps its memory, at bfloat16 both with autocast over float32 weights and with weights in bfloat16: in
 * every round the fastest of these counts, for memory the smallest. `overhead` is what of our steps is no kernel: the share of a step that the engine's thread had nothing to do
 * (idle), and the share that JavaScript's thread was busy, most of it beside running kernels (javascript); medians over rounds.
 */
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tokenRows } from './rows.mjs';
import { flags, here, keptMemory, median, once, player, python, report, rounded } from './turns.mjs';

/** What is trained, at which precision. */
const figures = ['full-float32', 'lora-float32', 'full-bfloat16', 'lora-bfloat16'];
const { shape, only, rounds, batch, seq, threads } = flags({
  shape: 'gpt2-124m',
  only: figures.join(','),
  rounds: 5,
  batch: 2,
  seq: 512,
  threads: 2,
});
const wanted = only.split(',');
const unknown = wanted.find((name) => !figures.includes(name));
if (unknown !== undefined) {
  console.error(`--only ${unknown}: no such figure; there are ${figures.join(', ')}`);
  process.exit(2);
}
const interpreter = python();
const model = join(tmpdir(), `rxtune-bench-${shape}`);
if (!existsSync(join(model, 'config.json'))) {
  await once(interpreter, [
    '-c',
    `import sys, runpy, json; sys.argv = ['', '${shape}', '-', '${model}']; runpy.run_path('${here('reference/make_checkpoint.py')}'); print(json.dumps({}))`,
  ]);
}
const { vocab_size } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
const rows = tokenRows(batch * (rounds + 1), seq, vocab_size);

const ratios = {};
const overhead = {};
const details = {};
for (const name of wanted) {
  const [mode, dtype] = name.split('-');
  const shared = [
    '--model',
    model,
    '--mode',
    mode,
    '--batch',
    `${batch}`,
    '--seq',
    `${seq}`,
    '--threads',
    `${threads}`,
  ];
  const ways = (dtype === 'bfloat16' ? [dtype, 'bfloat16-weights'] : [dtype]).flatMap((weights) => [
    { way: weights, weights, env: {} },
    { way: `${weights}, memory kept`, weights, env: keptMemory },
  ]);
  const theirs = [];
  for (const { way, weights, env } of ways)
    theirs.push(
      await player(way, interpreter, [here('reference/torch_step.py'), ...shared, '--dtype', weights], {
        OMP_NUM_THREADS: `${threads}`,
        ...env,
      }),
    );
  const ours = await player('rxtune', process.execPath, [here('ours/step.mjs'), ...shared, '--precision', dtype]);
  const pairs = [];
  for (let round = 0; round <= rounds; round++) {
    const ids = rows.slice(round * batch, (round + 1) * batch).flat();
    const answers = [];
    for (const their of theirs) answers.push(await their.turn(JSON.stringify(ids)));
    const b = await ours.turn();
    console.log(
      `${name} ${round === 0 ? 'warm-up' : round}: theirs ${answers.map((a) => a.seconds.toFixed(2)).join(' / ')} s, ours ${b.seconds.toFixed(2)} s, loss ${answers[0].loss.toFixed(4)} / ${b.loss.toFixed(4)}`,
    );
    const seconds = Math.min(...answers.map((a) => a.seconds));
    const bytes = Math.min(...answers.map((a) => a.peak_bytes));
    if (round > 0) pairs.push([{ ...answers[0], seconds, peak_bytes: bytes, all: answers.map((a) => a.seconds) }, b]);
  }
  for (const player of [...theirs, ours]) await player.end();
  ratios[name] = rounded(median(pairs.map(([a, b]) => a.seconds / b.seconds)));
  const [a, b] = pairs.at(-1);
  ratios[`${name}-memory`] = rounded(a.peak_bytes / b.peak_bytes);
  overhead[name] = {
    idle: rounded(median(pairs.map(([, y]) => y.idle))),
    javascript: rounded(median(pairs.map(([, y]) => y.javascript))),
  };
  details[name] = {
    theirs: median(pairs.map(([x]) => x.seconds)),
    theirWays: Object.fromEntries(ways.map(({ way }, i) => [way, median(pairs.map(([x]) => x.all[i]))])),
    ours: median(pairs.map(([, y]) => y.seconds)),
    losses: pairs.map(([x, y]) => [x.loss, y.loss]),
    peakBytes: [a.peak_bytes, b.peak_bytes],
  };
  console.log(
    `${name}: idle ${(100 * overhead[name].idle).toFixed(2)} %, JavaScript ${(100 * overhead[name].javascript).toFixed(2)} % of a step`,
  );
}
report('step', ratios, { shape, batch, seq, threads, overhead, details, torch: '2.13' });
