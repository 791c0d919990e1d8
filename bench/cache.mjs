/**
 * Rows taken from the cache against the same rows prepared, each time in a process of its own (load → rows in memory).
 *
 *     npm run bench -- cache [--tokenizers gpt2] [--rounds 3] [--times 10]
 *
 * Ratios gsm8k-TOKENIZER-hit are seconds of preparing without the cache over seconds of a hit; -miss, what a first run with the
 * cache takes over one without it: the price of keeping the rows; -hit-cpu, the first in processor seconds, which other work on
 * the machine does not stretch. Medians over rounds.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gsm8k, tokenizerFolder } from './data.mjs';
import { flags, here, median, once, report, rounded } from './turns.mjs';

const options = flags({ tokenizers: 'gpt2', rounds: 3, times: 10 });
const ratios = {};
const details = {};
for (const name of options.tokenizers.split(',')) {
  const args = [here('ours/cache.mjs'), '--data', gsm8k(options.times), '--tokenizer', tokenizerFolder(name)];
  const rounds = [];
  for (let round = 0; round < options.rounds; round++) {
    const cache = mkdtempSync(join(tmpdir(), 'rxtune-bench-cache-'));
    try {
      const without = await once(process.execPath, args);
      const miss = await once(process.execPath, [...args, '--cache', cache]);
      const hit = await once(process.execPath, [...args, '--cache', cache]);
      if (miss.fromCache || !hit.fromCache || hit.digest !== without.digest || miss.digest !== without.digest) {
        throw new Error(`not the same rows: ${JSON.stringify({ without, miss, hit })}`);
      }
      rounds.push({ without, miss, hit });
      console.log(
        `gsm8k-${name} ${round + 1}: ${without.rows} rows, without ${without.seconds.toFixed(2)} s, ` +
          `miss ${miss.seconds.toFixed(2)} s, hit ${hit.seconds.toFixed(3)} s`,
      );
    } finally {
      rmSync(cache, { recursive: true, force: true });
    }
  }
  ratios[`gsm8k-${name}-hit`] = rounded(median(rounds.map(({ without, hit }) => without.seconds / hit.seconds)));
  ratios[`gsm8k-${name}-miss`] = rounded(median(rounds.map(({ without, miss }) => miss.seconds / without.seconds)));
  ratios[`gsm8k-${name}-hit-cpu`] = rounded(median(rounds.map(({ without, hit }) => without.cpu / hit.cpu)));
  details[`gsm8k-${name}`] = rounds.map(({ without, miss, hit }) => ({
    without: rounded(without.seconds),
    miss: rounded(miss.seconds),
    hit: rounded(hit.seconds),
  }));
}
report('cache', ratios, { details });
