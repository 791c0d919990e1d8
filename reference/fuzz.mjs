// Random rows, templates and broken inputs through the whole path: no throw, and no row unaccounted for (in = out + refused).
//   node reference/fuzz.mjs [rows 100000] [seed 1]
// Needs dist (npm run build). Ends with 1 and the seed of the round that failed, else prints what became of the rows.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { lastValueFrom, toArray } from 'rxjs';
import {
  batchRows,
  decodeSftConfig,
  foldPreflight,
  isFatal,
  makeChatTemplate,
  makeRejects,
  openDataset,
  packRows,
  preflightFault,
  preflightPage,
  preflightText,
  prepare,
  pull,
  sequenceOf,
} from '../dist/index.js';
import { conversations, examples, wordTokenizer } from '../dist/laws/index.js';

const total = Number(process.argv[2] ?? 100_000);
const firstSeed = Number(process.argv[3] ?? 1);
const perRound = 200;

const anything = fc.anything({ withNullPrototype: false, withBigInt: false, withDate: false, maxDepth: 2 });
const scalar = fc.oneof(fc.string(), fc.integer(), fc.double(), fc.boolean(), fc.constant(null));
const columns = [
  'text',
  'prompt',
  'completion',
  'messages',
  'conversations',
  'instruction',
  'input',
  'output',
  'history',
  'system',
  'tools',
  'documents',
  'chat_template_kwargs',
  'question',
  'answer',
  'input_ids',
  'labels',
  'attention_mask',
  'position_ids',
  'loss_weights',
  'completion_mask',
  'weight',
  '__proto__',
  'constructor',
];
const message = fc.oneof(
  fc.record({
    role: fc.constantFrom('user', 'assistant', 'system', 'tool', ''),
    content: fc.oneof(fc.string(), anything),
  }),
  fc.record({
    from: fc.constantFrom('human', 'gpt', 'function_call', 'nobody'),
    value: fc.oneof(fc.string(), anything),
  }),
  fc.record({
    role: fc.string(),
    content: fc.string(),
    weight: scalar,
    tool_calls: anything,
    contentWeights: anything,
  }),
);
const ids = fc.array(fc.oneof(fc.nat(200), scalar), { maxLength: 8 });
const encode = (example) => {
  if (example.kind === 'messages') return { messages: example.messages, weight: example.weight };
  if (example.kind === 'tokenized') return { input_ids: example.inputIds, labels: example.labels };
  const { kind: _kind, ...row } = example;
  return row;
};
const row = fc.oneof(
  { weight: 9, arbitrary: examples({ tools: true }).map(encode) },
  {
    weight: 2,
    arbitrary: fc.dictionary(fc.constantFrom(...columns), fc.oneof(scalar, anything, ids, fc.array(message)), {
      maxKeys: 5,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ messages: fc.array(message, { maxLength: 4 }), tools: fc.oneof(anything, fc.string()) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ input_ids: ids, labels: ids, position_ids: ids, attention_mask: ids, loss_weights: ids }),
  },
  {
    weight: 1,
    arbitrary: conversations().map((messages) => ({ prompt: messages.slice(0, -1), completion: messages.slice(-1) })),
  },
  { weight: 1, arbitrary: anything },
);

const pieces = [
  '{{ bos_token }}',
  '{% for m in messages %}',
  '{% endfor %}',
  '{{ m.content }}',
  "{{ m['role'] }}",
  '{% if m.role == "user" %}',
  '{% endif %}',
  '{% else %}',
  '{% generation %}',
  '{% endgeneration %}',
  '{{ eos_token }}',
  '<|start|>',
  '\n',
  '{{ tools|tojson }}',
  "{{ raise_exception('no') }}",
  '{% set x = m.content %}',
  '{{ x|trim|upper }}',
  '{{',
  '%}',
  '{{ m.content[1:] }}',
  '{{ 1 / 0 }}',
  '{{ messages|length }}',
  '{% macro f(a) %}{{ a }}{% endmacro %}',
  '{{ f(m) }}',
  '{% break %}',
  '{{ m.tool_calls[0].function.name }}',
  '{% if add_generation_prompt %}A:{% endif %}',
  '{{ ("x" * 99) }}',
  '{#',
  '#}',
  '{%- for i in range(99999) %}x{% endfor %}',
];
const chatMl =
  '{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|start|>assistant\n{% endif %}';
const source = fc.oneof(
  { weight: 3, arbitrary: fc.constant(chatMl) },
  { weight: 2, arbitrary: fc.array(fc.constantFrom(...pieces), { maxLength: 8 }).map((parts) => parts.join('')) },
  {
    weight: 1,
    arbitrary: fc
      .array(fc.constantFrom(...pieces.slice(3, 8)), { maxLength: 5 })
      .map((parts) => `{% for m in messages %}${parts.join('')}{% endfor %}`),
  },
);
/** Once in eight. */
const seldom = (arbitrary) => fc.oneof({ weight: 7, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary });
const round = fc.record({
  rows: fc.array(row, { minLength: perRound, maxLength: perRound }),
  source,
  options: fc.record({
    maxLength: fc.oneof(
      { weight: 5, arbitrary: fc.integer({ min: 8, max: 60 }) },
      { weight: 1, arbitrary: fc.integer({ min: 1, max: 8 }) },
    ),
    packing: fc.boolean(),
    packingStrategy: fc.constantFrom('bfd', 'bfd_split', 'wrapped'),
    assistantOnlyLoss: seldom(fc.constant(true)),
    completionOnlyLoss: seldom(fc.boolean()),
    responseTemplate: seldom(fc.constantFrom('A', 'yes', ' ')),
    datasetTextField: seldom(fc.constantFrom('text', 'prompt', 'nothing')),
    parity: seldom(fc.constant('trl-0.7.10')),
    addSpecialTokens: seldom(fc.boolean()),
  }),
  tokenizer: fc.record({ addBos: fc.boolean(), addEos: fc.boolean(), pieceLength: fc.constantFrom(1, 2, 100) }),
  damage: fc.array(fc.tuple(fc.nat(), fc.constantFrom('cut', 'byte', 'line', 'quote')), { maxLength: 6 }),
});

const right = (either, what) => {
  if (either._tag === 'Left') throw new Error(`${what}: ${either.left.message}`);
  return either.right;
};

/** One round: the same rows from memory, and what is left of them as a damaged file. */
const through = async (rows, { source: template, options, tokenizer: how }) => {
  // These two contradict each other, and are refused as a usage error.
  const { responseTemplate: _template, ...others } = options;
  const given = options.packing && options.parity !== undefined ? others : options;
  const config = { ...right(decodeSftConfig(given), 'options'), maxLength: options.maxLength };
  const made = makeChatTemplate(template, { specialTokens: { bos_token: '<s>', eos_token: '</s>' }, maxSteps: 20_000 });
  const tokenizer = { ...wordTokenizer(how), ...(made._tag === 'Right' ? { chatTemplate: made.right } : {}) };
  const rejects = makeRejects({ maxRate: 1 });
  let refused = 0;
  let windowsRefused = 0;
  // Behind packing a refusal is one of a window, not of a row.
  let tokensLeft = 0;
  const kept = ({ inputIds: { length } }) =>
    config.packingStrategy === 'bfd' ? Math.min(length, config.maxLength) : length;
  rejects.stream.subscribe(({ stage, error, record }) => {
    if (stage === 'learnable' && config.packing) {
      windowsRefused++;
      tokensLeft -= record.inputIds.length;
    } else refused++;
    if (stage === 'maskCompletions') tokensLeft -= kept(record);
    if (typeof error.message !== 'string' || !/^E_/.test(error.code)) throw new Error('a refusal without a reason');
  });
  let read = 0;
  const tally = {
    read: () => read++,
    tokenized: (one) => (tokensLeft += kept(one)),
    prepared: () => undefined,
    warned: () => undefined,
    summary: () => undefined,
  };
  const out = await lastValueFrom(pull(rows).pipe(prepare({ tokenizer, rejects, tally }, config), toArray()), {
    defaultValue: [],
  });
  const parityPacking = config.packing && config.parity !== undefined;
  if (!config.packing && read !== out.length + refused)
    throw new Error(`${read} rows in, ${out.length} out, ${refused} refused`);
  // What a window joins or splits is told by its tokens: those of the rows are in windows, or in windows without a label.
  const tokensOut = out.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  if (config.packing && !parityPacking && tokensOut !== tokensLeft)
    throw new Error(`${tokensOut} tokens out, of ${tokensLeft}`);
  for (const made of out) {
    const { inputIds, labels, seqLengths, lossWeights } = made;
    if (inputIds.length > config.maxLength) throw new Error('a row beyond maxLength');
    if (labels.length !== inputIds.length) throw new Error('labels are not aligned');
    if (lossWeights !== undefined && lossWeights.length !== inputIds.length) throw new Error('weights are not aligned');
    if (seqLengths.reduce((sum, length) => sum + length, 0) !== inputIds.length)
      throw new Error('documents do not add up');
  }
  const fold = foldPreflight({ tokenizer }, config);
  for (const one of rows) fold.push(one);
  const report = fold.report();
  if (report.rowsRead !== read) throw new Error(`preflight read ${report.rowsRead} of ${read}`);
  const refusedThere = report.checks.find(({ name }) => name === 'refused').rows;
  const masked = report.checks.find(({ name }) => name === 'fullyMasked').rows;
  const counted = config.packing ? refused : refused - masked;
  if (refusedThere !== counted) throw new Error(`preflight refused ${refusedThere}, preparing ${counted}`);
  if (report.rows !== out.length) throw new Error(`preflight has ${report.rows} rows, preparing ${out.length}`);
  preflightFault(report);
  const view = { title: 'fuzz', decode: tokenizer.decode, colours: true };
  preflightText(report, view);
  preflightPage(report, view);
  for (let i = 0; i < out.length; i += 4) {
    const batch = batchRows({ padTokenId: 7 })(out.slice(i, i + 4));
    const { targets } = sequenceOf(batch);
    if (targets.rows.length > batch.numItems) throw new Error('more targets than labels');
  }
  if (!parityPacking) packRows({ maxLength: config.maxLength })(out);
  return { read, out: out.length, refused, windowsRefused };
};

const damaged = (text, damage) =>
  damage.reduce((all, [at, kind]) => {
    const place = all.length === 0 ? 0 : at % all.length;
    if (kind === 'cut') return all.slice(0, place) + all.slice(place + 3);
    if (kind === 'byte') return `${all.slice(0, place)}\u0000${all.slice(place)}`;
    if (kind === 'line') return `${all.slice(0, place)}\n${all.slice(place)}`;
    return `${all.slice(0, place)}"${all.slice(place)}`;
  }, text);

const folder = await mkdtemp(join(tmpdir(), 'rxtune-fuzz-'));
const file = join(folder, 'rows.jsonl');
const sums = { read: 0, out: 0, refused: 0, windowsRefused: 0, fromFiles: 0, rounds: 0 };
try {
  for (let seed = firstSeed; sums.read + sums.fromFiles < total; seed++) {
    const [one] = fc.sample(round, { numRuns: 1, seed });
    try {
      const memory = await through(one.rows, one);
      for (const [name, count] of Object.entries(memory)) sums[name] += count;
      const text = one.rows.map((value) => JSON.stringify(value) ?? 'undefined').join('\n');
      await writeFile(file, damaged(text, one.damage));
      const read = [];
      for await (const sourced of openDataset(file)) read.push(sourced);
      sums.fromFiles += (await through(read, one)).read;
      sums.rounds += 1;
    } catch (cause) {
      process.stderr.write(
        `seed ${seed}, template ${JSON.stringify(one.source)}, options ${JSON.stringify(one.options)}\n`,
      );
      process.stderr.write(`${isFatal(cause) ? `${cause.code} ${cause.message}` : cause.stack}\n`);
      process.exitCode = 1;
      break;
    }
  }
} finally {
  await rm(folder, { recursive: true });
}
process.stdout.write(`${JSON.stringify(sums)}\n`);
