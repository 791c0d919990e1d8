/**
 * Greedy generation against transformers' `generate`, in turns on the same cores.
 *
 *     PYTHON=… npm run bench -- generate [--shapes llama-small,gpt2-124m,llama-135m] [--texts 1,8] [--prompt 64] [--tokens 64] [--rounds 5] [--threads 2]
 *
 * Ratios SHAPE-N are their seconds for N prompts over ours (median over pairs), reading the prompts included: they continue them as one
 * batch, we as N streams that go at once. Weights are random and float32, SDPA there. `agree` is how many tokens are the same before
 * the first that differs, at worst: where two logits nearly tie, either may be taken.
 */
import { existsSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { tokenRows } from './rows.mjs';
import { flags, here, keptMemory, median, once, player, python, report, rounded } from './turns.mjs';

const { shapes, texts, prompt, tokens, rounds, threads } = flags({
  shapes: 'llama-small,gpt2-124m,llama-135m',
  texts: '1,8',
  prompt: 64,
  tokens: 64,
  rounds: 5,
  threads: 2,
});
const interpreter = python();
const ratios = {};
const details = {};
for (const shape of shapes.split(',')) {
  const model = join(tmpdir(), `rxtune-bench-${shape}`);
  if (!existsSync(join(model, 'config.json'))) {
    await once(interpreter, [
      '-c',
      `import sys, runpy, json; sys.argv = ['', '${shape}', '-', '${model}']; runpy.run_path('${here('reference/make_checkpoint.py')}'); print(json.dumps({}))`,
    ]);
  }
  const { vocab_size } = JSON.parse(readFileSync(join(model, 'config.json'), 'utf8'));
  const shared = ['--model', model, '--threads', `${threads}`];
  const torch = await player('torch', interpreter, [here('reference/torch_generate.py'), ...shared], {
    OMP_NUM_THREADS: `${threads}`,
    OMP_WAIT_POLICY: 'passive',
    ...keptMemory,
  });
  const rxtune = await player('rxtune', process.execPath, [here('ours/generate.mjs'), ...shared]);
  for (const count of texts.split(',').map(Number)) {
    const rows = tokenRows(count * (rounds + 1), prompt, vocab_size);
    const name = `${shape}-${count}`;
    const pairs = [];
    for (let round = 0; round <= rounds; round++) {
      const line = JSON.stringify({ prompts: rows.slice(round * count, (round + 1) * count), tokens });
      const a = await torch.turn(line);
      const b = await rxtune.turn(line);
      const agree = Math.min(
        ...a.ids.map((ids, i) => {
          const at = ids.findIndex((id, t) => id !== b.ids[i][t]);
          return at === -1 ? ids.length : at;
        }),
      );
      console.log(
        `${name} ${round === 0 ? 'warm-up' : round}: theirs ${a.seconds.toFixed(3)} s, ours ${b.seconds.toFixed(3)} s (engine idle ${(100 * b.idle).toFixed(0)} %), agree ${agree}/${tokens}`,
      );
      if (round > 0) pairs.push([a, b, agree]);
    }
    ratios[name] = rounded(median(pairs.map(([a, b]) => a.seconds / b.seconds)));
    details[name] = {
      theirs: median(pairs.map(([a]) => a.seconds)),
      ours: median(pairs.map(([, b]) => b.seconds)),
      tokensPerSecond: rounded((count * tokens) / median(pairs.map(([, b]) => b.seconds))),
      agree: Math.min(...pairs.map(([, , agree]) => agree)),
    };
  }
  await torch.end();
  await rxtune.end();
}
report('generate', ratios, { prompt, tokens, threads, details, torch: '2.13' });
