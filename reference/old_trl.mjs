// Prepares the rows that old_trl.py recorded under `parity: 'trl-0.7.10'`, and says where ids or labels differ from those of TRL 0.7.10.
// Usage: node reference/old_trl.mjs DIR
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastValueFrom, toArray } from 'rxjs';
import { decodeSftConfig, loadTokenizer, makeRejects, orThrow, prepareDataset, withChatFormat } from 'rxtune';

const folder = process.argv[2] ?? 'cases';
const { cases } = JSON.parse(readFileSync(join(folder, 'cases.json'), 'utf8'));
const camel = (name) => name.replace(/_(.)/g, (_, letter) => letter.toUpperCase());
const rightOf = (either) => {
  if (either._tag === 'Left') throw either.left;
  return either.right;
};

const formats = {
  question: ({ question, answer }) => `### Question: ${question}\n ### Answer: ${answer}`,
  answer: ({ answer }) => answer,
  doubled: ({ text }) => `${text} ${text}`,
};

const tokenizers = new Map();
const tokenizerOf = async ({ directory, chatFormat }) => {
  const known = tokenizers.get(directory) ?? (await orThrow(loadTokenizer(join(folder, directory))));
  tokenizers.set(directory, known);
  return chatFormat ? rightOf(withChatFormat(known, { parity: true })) : known;
};

const ours = async (one) => {
  const tokenizer = await tokenizerOf(one);
  const given = {
    parity: 'trl-0.7.10',
    packing: one.packing,
    maxLength: one.maxLength ?? Math.min(tokenizer.modelMaxLength ?? 1024, 1024),
    datasetTextField: one.field,
    numOfSequences: one.numOfSequences,
    charsPerToken: one.charsPerToken,
    responseTemplate: one.responseTemplate,
    instructionTemplate: one.instructionTemplate,
    shuffle: false,
    ...Object.fromEntries(Object.entries(one.kwargs).map(([name, value]) => [camel(name), value])),
  };
  const config = rightOf(
    decodeSftConfig(Object.fromEntries(Object.entries(given).filter(([, value]) => value != null))),
  );
  const rejects = makeRejects();
  const refused = [];
  rejects.stream.subscribe(({ error }) => refused.push(error.code));
  const setup = { tokenizer, rejects, ...(one.format === null ? {} : { formattingFunc: formats[one.format] }) };
  const made = await lastValueFrom(prepareDataset(one.rows, setup, config).pipe(toArray()));
  const { bosTokenId, eosTokenId, padTokenId } = tokenizer;
  return {
    vocabulary: { bos: bosTokenId ?? null, eos: eosTokenId ?? null, pad: padTokenId ?? null },
    made: made.map(({ inputIds, labels }) => ({ ids: [...inputIds], labels: [...labels] })),
    refused,
  };
};

let different = 0;
const differs = (at, one, why) => {
  different += 1;
  const { rows: _rows, made: _made, patches: _patches, ...which } = one;
  console.log(`${at}: ${why}\n   ${JSON.stringify(which)}`);
};
let refusedThere = 0;
let rows = 0;
for (const [at, one] of cases.entries()) {
  if (one.error !== undefined) {
    refusedThere += 1;
    continue;
  }
  let found;
  try {
    found = await ours(one);
  } catch (error) {
    differs(at, one, `refused here: ${error.code} ${error.message}`);
    continue;
  }
  if (JSON.stringify(found.vocabulary) !== JSON.stringify(one.vocabulary)) {
    differs(
      at,
      one,
      `special tokens ${JSON.stringify(one.vocabulary)} there, ${JSON.stringify(found.vocabulary)} here`,
    );
    continue;
  }
  // Rows of no token are refused here.
  const wanted = one.made.filter(({ ids }) => ids.length > 0);
  const { made } = found;
  rows += wanted.length;
  const row = wanted.findIndex(({ ids, labels }, i) => JSON.stringify({ ids, labels }) !== JSON.stringify(made[i]));
  if (row >= 0 || wanted.length !== made.length) {
    const shown = (own) => JSON.stringify(own?.[Math.max(0, row)])?.slice(0, 300);
    differs(
      at,
      one,
      `${wanted.length} rows there, ${made.length} here (${found.refused.join()}); row ${row}:\n   ${shown(wanted)}\n   ${shown(made)}`,
    );
  }
}
console.log(`${cases.length} cases (${refusedThere} refused there), ${rows} rows, ${different} different`);
process.exitCode = different === 0 ? 0 : 1;
