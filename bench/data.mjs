/** Rows and tokenizers that the benches read: from the folder RXTUNE_SHARED names (default ../shared), prepared once. */
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { here } from './turns.mjs';

const shared = resolve(process.env.RXTUNE_SHARED ?? here('../../shared'));

/** A path in the data folder, or the end of the program in plain words. */
export const sharedData = (path) => {
  const whole = join(shared, 'data', path);
  if (existsSync(whole)) return whole;
  console.error(`${path} is not there: this bench reads real data; set RXTUNE_SHARED, or give --data and --tokenizer`);
  process.exit(2);
};

const once = (name, make) => {
  const path = join(tmpdir(), `rxtune-bench-${name}`);
  if (!existsSync(path)) writeFileSync(path, make());
  return path;
};

const lines = (rows) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');

/** gsm8k's training rows as prompt and completion, `times` over. */
export const gsm8k = (times = 1) =>
  once(`gsm8k-${times}.jsonl`, () => {
    const rows = gunzipSync(readFileSync(sharedData('datasets/gsm8k_train.jsonl.gz')))
      .toString()
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    return lines(rows.map(({ question, answer }) => ({ prompt: `${question}\n`, completion: answer }))).repeat(times);
  });

/** LIMA's rows (long answers) as prompt and completion. */
export const lima = () =>
  once('lima.jsonl', () =>
    lines(
      JSON.parse(gunzipSync(readFileSync(sharedData('datasets/lima.json.gz'))).toString())
        .filter(({ output }) => output.length > 0)
        .map(({ instruction, input, output }) => ({
          prompt: `${instruction}${input ? `\n${input}` : ''}\n`,
          completion: output,
        })),
    ),
  );

/** A tokenizer's folder with its packed files unpacked. */
export const tokenizerFolder = (name) => {
  const from = sharedData(join('tokenizers', name));
  const to = join(tmpdir(), `rxtune-bench-tokenizer-${name}`);
  if (!existsSync(to)) {
    mkdirSync(to);
    for (const file of readdirSync(from)) {
      const bytes = readFileSync(join(from, file));
      writeFileSync(join(to, basename(file, '.gz')), file.endsWith('.gz') ? gunzipSync(bytes) : bytes);
    }
  }
  return to;
};
