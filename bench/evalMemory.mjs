/**
 * The peak memory of a process that trains and then evaluates many rows at a real vocabulary, over that of one that only trains: chat
 * rows with the loss per role and entropy told, without and with `preprocessLogitsForMetrics`. Each in a process of its own; a small
 * Llama with random weights, so that the logits outweigh all else; the default batch sizes.
 *
 *     npm run bench -- evalMemory [--rows 10000] [--vocab 50257] [--hidden 64] [--words 12] [--steps 8]
 *
 * The training alone reads as many rows. A ratio above 1.2 fails.
 */
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { writeSmallLlama } from './ours/smallModel.mjs';
import { flags, here, once as run, report, rounded } from './turns.mjs';

const settings = {
  training: { evaluates: false },
  'and evaluation': { evaluates: true },
  'and evaluation with predictions': { evaluates: true, predicts: true },
};

const { shape } = flags({ shape: '', rows: 0, vocab: 0, hidden: 0, words: 0, steps: 0 });

/** The measured half: a process that trains a few updates, evaluates when told to, and tells its peak. */
const child = async ({ dir, tokenizerDir, train, evaluation, steps, evaluates, predicts }) => {
  const { loadModel, loadTokenizer, orThrow, sftTrainer, completed, jsonl } = await import(here('../dist/index.js'));
  const { argMax } = await import('@tensorflow/tfjs-core');
  const { model } = await orThrow(loadModel(dir));
  const tokenizer = await orThrow(loadTokenizer(tokenizerDir));
  let predicted = 0;
  const trainer = sftTrainer(
    {
      ...{ model, tokenizer, trainDataset: jsonl(train) },
      ...(evaluates ? { evalDataset: jsonl(evaluation) } : {}),
      ...(predicts
        ? {
            preprocessLogitsForMetrics: (logits) => argMax(logits, -1),
            computeMetrics:
              ({ predictions: { values, labels } }) =>
              async () => {
                predicted = values.length;
                const same = values.reduce((sum, id, i) => sum + (id === labels[i] ? 1 : 0), 0);
                return { _tag: 'Right', right: { exact: same / labels.length } };
              },
          }
        : {}),
    },
    { maxSteps: steps, maxMemory: 0, preparedCache: false, ...(evaluates ? { evalSteps: steps } : {}) },
  );
  let told = {};
  const before = process.hrtime.bigint();
  trainer.evaluations.subscribe(({ rows, numItems, entropy, roles, metrics }) => {
    told = { rows, numItems, entropy, roles: Object.keys(roles), exact: metrics.eval_exact };
  });
  await orThrow(completed(trainer));
  const seconds = Number(process.hrtime.bigint() - before) / 1e9;
  console.log(JSON.stringify({ peak: process.resourceUsage().maxRSS * 1024, seconds, predicted, ...told }));
};

/** Chat rows of made-up words; each of its own length. */
const writeRows = async (file, rows, words) => {
  const out = createWriteStream(file);
  for (let i = 0; i < rows; i++) {
    const said = (n, seed) =>
      Array.from({ length: n }, (_, w) => ((seed * 7919 + w * 104729) % 1679616).toString(36)).join(' ');
    const messages = [
      { role: 'user', content: said(1 + (i % words), i) },
      { role: 'assistant', content: said(1 + ((i * 7) % words), i + rows) },
    ];
    if (!out.write(`${JSON.stringify({ messages })}\n`)) await once(out, 'drain');
  }
  out.end();
  await once(out, 'close');
};

if (shape !== '') await child(JSON.parse(shape));
else {
  const { rows, vocab, hidden, words, steps } = flags({ rows: 10_000, vocab: 50_257, hidden: 64, words: 12, steps: 8 });
  const dir = await mkdtemp(join(tmpdir(), 'rxtune-bench-'));
  try {
    await writeSmallLlama(dir, { vocab, hidden, layers: 2, heads: 4 });
    const [train, evaluation] = [join(dir, 'train.jsonl'), join(dir, 'evaluation.jsonl')];
    await writeRows(train, rows, words);
    await writeRows(evaluation, rows, words);
    const measured = {};
    for (const [name, modes] of Object.entries(settings)) {
      const given = { dir, tokenizerDir: here('../examples/quickstart/base'), train, evaluation, steps, ...modes };
      measured[name] = await run(process.execPath, [fileURLToPath(import.meta.url), '--shape', JSON.stringify(given)]);
      const { peak, seconds } = measured[name];
      const over = peak / measured.training.peak;
      measured[name].over = rounded(over);
      console.log(`${name}: ${(peak / 1e6).toFixed(0)} MB, ${seconds.toFixed(0)} s (${over.toFixed(2)} of training)`);
    }
    report('evalMemory', {}, { rows, vocab, hidden, words, steps, runs: measured });
    if (Object.values(measured).some(({ over }) => over > 1.2)) process.exitCode = 1;
  } finally {
    await rm(dir, { recursive: true });
  }
}
