/**
 * The whole preparation (load → batch) against TRL + datasets + tokenizers, the same rows, tokenizer and result.
 *
 *     PYTHON=… npm run bench -- prepare [--datasets gsm8k,lima] [--tokenizers gpt2,qwen2,tinyllama-chat] [--rounds 3] [--procs 0,2]
 *
 * Ratios DATASET-TOKENIZER-default and -best (with dataset_num_proc at its best value of --procs) are rows per second, ours over
 * theirs, medians of pairs taken in turns; `…-memory` is their peak memory over ours. Ids and labels are compared row by row first.
 */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gsm8k, lima, tokenizerFolder } from './data.mjs';
import { flags, here, median, once, python, report, rounded } from './turns.mjs';

const options = flags({
  datasets: 'gsm8k,lima',
  tokenizers: 'gpt2,qwen2,tinyllama-chat',
  rounds: 3,
  procs: '0,2',
  times: 10,
});
const interpreter = python();
const files = { gsm8k: () => gsm8k(options.times), lima: () => lima() };
const ratios = {};
const details = {};
for (const dataset of options.datasets.split(',')) {
  for (const name of options.tokenizers.split(',')) {
    const tokenizer = tokenizerFolder(name);
    const data = files[dataset]();
    const small = dataset === 'gsm8k' ? gsm8k(1) : data;
    const theirs = (procs, rest = []) =>
      once(interpreter, [
        here('reference/trl_prepare.py'),
        '--data',
        data,
        '--tokenizer',
        tokenizer,
        '--num-proc',
        procs,
        ...rest,
      ]);
    const ours = (rest = []) =>
      once(process.execPath, [here('ours/prepare.mjs'), '--data', data, '--tokenizer', tokenizer, ...rest]);

    // The same result first.
    const [a, b] = ['theirs', 'ours'].map((side) => join(tmpdir(), `rxtune-bench-${dataset}-${name}-${side}.jsonl`));
    await once(interpreter, [here('reference/trl_prepare.py'), '--data', small, '--tokenizer', tokenizer, '--out', a]);
    await once(process.execPath, [here('ours/prepare.mjs'), '--data', small, '--tokenizer', tokenizer, '--out', b]);
    const [left, right] = [a, b].map((path) =>
      readFileSync(path, 'utf8')
        .trim()
        .split('\n')
        .map((line) => JSON.stringify(JSON.parse(line))),
    );
    const different = left.filter((line, i) => line !== right[i]).length + Math.abs(left.length - right.length);
    console.log(`${dataset}-${name}: ${left.length} rows compared, ${different} differ`);

    const rate = ({ rows, seconds }) => rows / seconds;
    const pairs = { default: [], best: [] };
    for (let round = 0; round < options.rounds; round++) {
      const mine = await ours();
      const byProcs = [];
      for (const procs of options.procs.split(',')) byProcs.push(await theirs(procs));
      const best = byProcs.reduce((x, y) => (rate(x) > rate(y) ? x : y));
      pairs.default.push([byProcs[0], mine]);
      pairs.best.push([best, mine]);
      console.log(
        `${dataset}-${name} ${round + 1}: theirs ${byProcs.map((x) => rate(x).toFixed(0)).join(' / ')} rows/s, ours ${rate(mine).toFixed(0)}`,
      );
    }
    for (const [kind, list] of Object.entries(pairs)) {
      ratios[`${dataset}-${name}-${kind}`] = rounded(median(list.map(([x, y]) => rate(y) / rate(x))));
    }
    ratios[`${dataset}-${name}-memory`] = rounded(median(pairs.default.map(([x, y]) => x.peak_bytes / y.peak_bytes)));
    details[`${dataset}-${name}`] = { compared: left.length, different };
  }
}
report('prepare', ratios, { details });
