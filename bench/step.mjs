/**
 * A whole training step through the public trainer against PyTorch at its best CPU settings, step by step in turns.
 *
 *     PYTHON=… npm run bench -- step [--shape gpt2-124m|llama-135m] [--only full-float32,lora-float32] [--rounds 5]
 *
 * Ratios are PyTorch's time over ours (median over pairs); `…-memory` is its peak resident memory over ours.
 */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tokenRows } from './rows.mjs';
import { flags, here, median, once, player, python, report, rounded } from './turns.mjs';

const { shape, only, rounds, batch, seq, threads } = flags({
  shape: 'gpt2-124m',
  only: 'full-float32,full-bfloat16,lora-float32',
  rounds: 5,
  batch: 2,
  seq: 512,
  threads: 2,
});
const interpreter = python();
const model = join(tmpdir(), `rxtune-bench-${shape}`);
if (!existsSync(join(model, 'config.json'))) {
  await once(interpreter, [
    '-c',
    `import sys, runpy, json; sys.argv = ['', '${shape}', '-', '${model}']; runpy.run_path('${here('reference/make_checkpoint.py')}'); print(json.dumps({}))`,
  ]);
}
const vocabulary = shape.startsWith('llama') ? 49152 : 50257;
const rows = tokenRows(batch * (rounds + 1), seq, vocabulary);

const ratios = {};
const details = {};
for (const name of only.split(',')) {
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
  const theirs = await player('torch', interpreter, [here('reference/torch_step.py'), ...shared, '--dtype', dtype], {
    OMP_NUM_THREADS: `${threads}`,
  });
  const ours = await player('rxtune', process.execPath, [here('ours/step.mjs'), ...shared, '--precision', dtype]);
  const pairs = [];
  for (let round = 0; round <= rounds; round++) {
    const ids = rows.slice(round * batch, (round + 1) * batch).flat();
    const a = await theirs.turn(JSON.stringify(ids));
    const b = await ours.turn();
    console.log(
      `${name} ${round === 0 ? 'warm-up' : round}: theirs ${a.seconds.toFixed(2)} s, ours ${b.seconds.toFixed(2)} s, loss ${a.loss.toFixed(4)} / ${b.loss.toFixed(4)}`,
    );
    if (round > 0) pairs.push([a, b]);
  }
  await theirs.end();
  await ours.end();
  ratios[name] = rounded(median(pairs.map(([a, b]) => a.seconds / b.seconds)));
  const [a, b] = pairs.at(-1);
  ratios[`${name}-memory`] = rounded(a.peak_bytes / b.peak_bytes);
  details[name] = {
    theirs: median(pairs.map(([x]) => x.seconds)),
    ours: median(pairs.map(([, y]) => y.seconds)),
    losses: pairs.map(([x, y]) => [x.loss, y.loss]),
    peakBytes: [a.peak_bytes, b.peak_bytes],
  };
}
report('step', ratios, { shape, batch, seq, threads, details, torch: '2.13' });
