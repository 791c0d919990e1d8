/**
 * 1,000,000 short rows through `rxtune prepare`, file to file, then once more from the cache: rows a second and peak memory, which
 * must stay under 400 MB.
 *
 *     npm run bench -- million [--rows 1000000]
 */
import { spawn } from 'node:child_process';
import { createWriteStream } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { once } from 'node:events';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { flags, here, report, rounded } from './turns.mjs';

const { rows } = flags({ rows: 1_000_000 });
const limit = 400e6;
const directory = await mkdtemp(join(tmpdir(), 'rxtune-bench-'));
try {
  const data = join(directory, 'rows.jsonl');
  const file = createWriteStream(data);
  for (let i = 0; i < rows; i++) {
    const line = `${JSON.stringify({ prompt: `order number ${i}`, completion: ' is three red mugs' })}\n`;
    if (!file.write(line)) await once(file, 'drain');
  }
  file.end();
  await once(file, 'finish');

  // The peak is asked of the process itself, when it ends.
  const told = 'process.on("exit", () => console.error(`peak_kilobytes ${process.resourceUsage().maxRSS}`))';
  const turn = async () => {
    const began = performance.now();
    const child = spawn(
      process.execPath,
      [
        ...['--import', `data:text/javascript,${encodeURIComponent(told)}`, here('../dist/cli/main.js'), 'prepare'],
        ...['--tokenizer', here('../examples/quickstart/base'), '--train-dataset', data],
        ...['--out', join(directory, 'out.jsonl')],
      ],
      { stdio: ['ignore', 'ignore', 'pipe'], env: { ...process.env, RXTUNE_CACHE: join(directory, 'cache') } },
    );
    let err = '';
    child.stderr.setEncoding('utf8').on('data', (text) => (err += text));
    const [code] = await once(child, 'close');
    const seconds = (performance.now() - began) / 1000;
    const prepared = Number(/rows prepared: (\d+)/.exec(err)?.[1]);
    const peak = Number(/peak_kilobytes (\d+)/.exec(err)?.[1]) * 1024;
    if (code !== 0 || prepared !== rows) throw new Error(err);
    const from = err.includes('taken from the cache') ? ' from the cache' : '';
    console.log(`${rows} rows${from} in ${seconds.toFixed(1)} s, peak ${(peak / 1e6).toFixed(0)} MB`);
    return { seconds: rounded(seconds), rows_per_second: Math.round(rows / seconds), peak_bytes: peak };
  };
  const first = await turn();
  const again = await turn();
  report('million', {}, { rows, ...first, again });
  if (!(Math.max(first.peak_bytes, again.peak_bytes) < limit)) process.exitCode = 1;
} finally {
  await rm(directory, { recursive: true });
}
