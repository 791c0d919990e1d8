/**
 * The real job: completion-only fine-tuning of a 124M model on gsm8k, batch 8, against TRL's SFTTrainer, step by step in turns.
 *
 *     PYTHON=… npm run bench -- sft [--data FILE.jsonl] [--tokenizer DIR] [--mode full,lora] [--dtype float32] [--settings default,best]
 *
 * `default` leaves TRL, PyTorch and the allocator as they come; `best` is no checkpointing, rows grouped by length, fused AdamW, and
 * an allocator that keeps its memory. Ratios `sft-gsm8k-MODE-DTYPE-SETTINGS` are trained tokens per second, ours over theirs;
 * `…-memory` is their peak memory over ours. The losses of the default runs (same rows, same order) are given side by side.
 */
import { existsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gsm8k, sharedData } from './data.mjs';
import { flags, here, keptMemory, median, once, player, python, report, rounded } from './turns.mjs';

const { shape, mode, dtype, settings, rounds, data, tokenizer } = flags({
  shape: 'gpt2-124m',
  mode: 'full,lora',
  dtype: 'float32',
  settings: 'default',
  rounds: 3,
  data: '',
  tokenizer: '',
});
const interpreter = python();
const model = join(tmpdir(), `rxtune-bench-${shape}-gsm8k`);
if (!existsSync(join(model, 'config.json'))) {
  const files = tokenizer === '' ? sharedData('tokenizers/gpt2') : tokenizer;
  await once(interpreter, [
    '-c',
    `import sys, runpy, json; sys.argv = ['', '${shape}', '${files}', '${model}']; runpy.run_path('${here('reference/make_checkpoint.py')}'); print(json.dumps({}))`,
  ]);
}
const rows = data === '' ? gsm8k() : data;

const ratios = {};
const details = {};
for (const m of mode.split(',')) {
  for (const d of dtype.split(',')) {
    for (const s of settings.split(',')) {
      const name = `sft-gsm8k-${m}-${d}-${s}`;
      // A step more than is timed: what a trainer does when it ends would fall into the other's last turn.
      const steps = `${rounds + 2}`;
      const shared = ['--model', model, '--data', rows, '--mode', m, '--settings', s, '--steps', steps];
      const theirs = await player(
        'trl',
        interpreter,
        [here('reference/trl_sft.py'), ...shared, '--dtype', d],
        s === 'best' ? keptMemory : {},
      );
      const ours = await player('rxtune', process.execPath, [here('ours/sft.mjs'), ...shared, '--precision', d]);
      const pairs = [];
      for (let round = 0; round <= rounds; round++) {
        const a = await theirs.turn();
        const b = await ours.turn();
        console.log(
          `${name} ${round === 0 ? 'warm-up' : round}: theirs ${a.seconds.toFixed(2)} s for ${a.trained_tokens}, ours ${b.seconds.toFixed(2)} s for ${b.trained_tokens} trained tokens, loss ${a.loss.toFixed(4)} / ${b.loss.toFixed(4)}`,
        );
        if (round > 0) pairs.push([a, b]);
      }
      await theirs.end();
      await ours.end();
      const rate = ({ trained_tokens, seconds }) => trained_tokens / seconds;
      ratios[name] = rounded(median(pairs.map(([a, b]) => rate(b) / rate(a))));
      const [a, b] = pairs.at(-1);
      ratios[`${name}-memory`] = rounded(a.peak_bytes / b.peak_bytes);
      details[name] = {
        losses: pairs.map(([x, y]) => [x.loss, y.loss]),
        trainedTokens: pairs.map(([x, y]) => [x.trained_tokens, y.trained_tokens]),
        peakBytes: [a.peak_bytes, b.peak_bytes],
      };
    }
  }
}
report('sft', ratios, { shape, details });
