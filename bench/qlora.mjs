/**
 * QLoRA (nf4, double quantisation) against full float32 fine-tuning and against LoRA on the float32 base, all ours.
 *
 *     PYTHON=… npm run bench -- qlora [--shape gpt2-124m] [--steps 24] [--batch 2] [--seq 256] [--rate 2e-4]
 *
 * `memory`: the peak of the engine's tensors, QLoRA's over full fine-tuning's; `process-memory`: the same of resident memory.
 * `loss`: the largest distance of QLoRA's loss from LoRA's at any step, over LoRA's loss. At rates where the loss jumps from step to
 * step (1e-3 on these random weights) the two runs part by chance, by several percent.
 */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { flags, here, once, python, report, rounded } from './turns.mjs';

const { shape, ...size } = flags({ shape: 'gpt2-124m', steps: 24, batch: 2, seq: 256, threads: 2, rate: 2e-4 });
const model = join(tmpdir(), `rxtune-bench-${shape}`);
if (!existsSync(join(model, 'config.json'))) {
  await once(python(), [
    '-c',
    `import sys, runpy, json; sys.argv = ['', '${shape}', '-', '${model}']; runpy.run_path('${here('reference/make_checkpoint.py')}'); print(json.dumps({}))`,
  ]);
}
const given = Object.entries(size).flatMap(([name, value]) => [`--${name}`, `${value}`]);
const runs = {};
for (const mode of ['full', 'lora', 'qlora']) {
  runs[mode] = await once(process.execPath, [here('ours/qlora.mjs'), '--model', model, '--mode', mode, ...given]);
  const { losses, engine_peak_bytes: engine } = runs[mode];
  console.log(
    `${mode}: loss ${losses[0].toFixed(4)} … ${losses.at(-1).toFixed(4)}, engine ${(engine / 2 ** 20).toFixed(0)} MiB`,
  );
}
const over = (name) => rounded(runs.qlora[name] / runs.full[name]);
const apart = runs.lora.losses.map((loss, i) => Math.abs(runs.qlora.losses[i] - loss) / loss);
report(
  'qlora',
  {
    memory: over('engine_peak_bytes'),
    'process-memory': over('process_peak_bytes'),
    loss: rounded(Math.max(...apart)),
  },
  { shape, ...size, runs },
);
