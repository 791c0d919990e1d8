/**
 * The other side of trl_prepare.py: rows on disk to the last collated batch. Prints {"seconds", "rows", "tokens", "peak_bytes"};
 * --procs N: threads, 0 for the default; with --out writes every row's ids and labels, so that the two sides can be compared.
 */
import { writeFileSync } from 'node:fs';
import { lastValueFrom, tap } from 'rxjs';
import {
  batch,
  decodeSftConfig,
  jsonl,
  loadTokenizer,
  makeGate,
  makeRejects,
  orThrow,
  prepareDataset,
} from '../../dist/index.js';
import { flags } from '../turns.mjs';
import { peakBytes } from './turn.mjs';

const {
  data,
  tokenizer: dir,
  maxLength,
  out,
  procs,
} = flags({ data: '', tokenizer: '', maxLength: 1024, out: '', procs: 0 });
const tokenizer = await orThrow(loadTokenizer(dir));
const config = orThrow(
  decodeSftConfig({
    promptBorder: 'prompt_ids',
    shuffle: false,
    seed: 0,
    ...(procs === 0 ? {} : { datasetNumProc: procs }),
  }),
);
const began = performance.now();
let rows = 0;
let tokens = 0;
const lines = [];
await lastValueFrom(
  prepareDataset(
    jsonl(data),
    { tokenizer, rejects: makeRejects() },
    { ...config, maxLength },
    { gate: makeGate() },
  ).pipe(
    tap((row) => {
      rows++;
      tokens += row.inputIds.length;
      if (out !== '') lines.push(JSON.stringify({ input_ids: [...row.inputIds], labels: [...row.labels] }));
    }),
    batch({ size: 8, padTokenId: tokenizer.padTokenId }),
  ),
);
const seconds = (performance.now() - began) / 1000;
if (out !== '') writeFileSync(out, `${lines.join('\n')}\n`);
console.log(JSON.stringify({ seconds, rows, tokens, peak_bytes: peakBytes() }));
