/** Rows on disk to rows in memory, with or without a cache. Prints {"seconds", "cpu", "rows", "fromCache", "digest"}. */
import { createHash } from 'node:crypto';
import { fromEither } from 'fp-ts/lib/TaskEither.js';
import { decodeSftConfig, loadTokenizer, openDataset, orThrow, prepareRows } from '../../dist/index.js';
import { flags } from '../turns.mjs';

const { data, tokenizer: dir, cache } = flags({ data: '', tokenizer: '', cache: '' });
process.env.RXTUNE_CACHE = cache;
const tokenizer = await orThrow(loadTokenizer(dir));
const config = await orThrow(fromEither(decodeSftConfig({ maxLength: 1024, preparedCache: cache !== '' })));
const began = performance.now();
const before = process.cpuUsage();
const { rows, fromCache } = await orThrow(
  prepareRows(openDataset(data), { tokenizer }, { ...config, maxLength: 1024 }),
);
const seconds = (performance.now() - began) / 1000;
const { user, system } = process.cpuUsage(before);
const hash = createHash('sha256');
for (const { inputIds, labels, seqLengths } of rows) hash.update(inputIds).update(labels).update(seqLengths.join());
console.log(
  JSON.stringify({ seconds, cpu: (user + system) / 1e6, rows: rows.length, fromCache, digest: hash.digest('hex') }),
);
