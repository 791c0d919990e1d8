/** What TRL itself made of real rows: `golden/trl` of the shared test data, reproduced exactly. */
import { createHash } from 'node:crypto';
import { describe, expect, it } from '@jest/globals';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { packRows } from '../../src/operators/pack.js';
import type { PackingStrategy } from '../../src/operators/pack.js';
import { packConstantLengthRows } from '../../src/operators/packConstantLength.js';
import { padRow } from '../../src/operators/pad.js';
import { templateIds } from '../../src/operators/responses.js';
import { sharedPath } from '../shared.js';
import { sharedText, sharedTokenizer } from '../sharedTokenizer.js';

const present = sharedPath('data', 'golden', 'trl') !== undefined;
const golden = (name: string): unknown => JSON.parse(sharedText('data', 'golden', 'trl', name) ?? 'null');
const withShared = present ? describe : describe.skip;
if (!present) process.stdout.write('skipped: goldens of TRL (no shared test data here)\n');

const tokenizers = new Map<string, Tokenizer>();
const tokenizerNamed = (name: string): Tokenizer => {
  const known = tokenizers.get(name) ?? sharedTokenizer(name);
  tokenizers.set(name, known);
  return known;
};

const sha256 = (rows: Iterable<ArrayLike<number>>): string =>
  createHash('sha256')
    .update([...rows].map((row) => Array.from(row).join(' ')).join('\n'))
    .digest('hex');

interface Instruction {
  readonly instruction: string;
  readonly output: string;
}
const codeAlpaca = (count: number): ReadonlyArray<string> =>
  (JSON.parse(sharedText('data', 'datasets', 'code_alpaca_2k.json') ?? '[]') as ReadonlyArray<Instruction>)
    .slice(0, count)
    .map(({ instruction, output }) => `### Question: ${instruction}\n ### Answer: ${output}`);

const rowOf = (ids: ArrayLike<number>) => ({ inputIds: Int32Array.from(ids), seqLengths: [ids.length] });

interface PackingToy {
  readonly strategy: PackingStrategy;
  readonly seq_length: number;
  readonly input: ReadonlyArray<ReadonlyArray<number>>;
  readonly output: {
    readonly input_ids: ReadonlyArray<ReadonlyArray<number>>;
    readonly seq_lengths?: ReadonlyArray<ReadonlyArray<number>>;
  };
}
interface PackingReal {
  readonly tokenizer: string;
  readonly n_rows: number;
  readonly row_lengths: ReadonlyArray<number>;
  readonly results: ReadonlyArray<{
    readonly strategy: PackingStrategy;
    readonly seq_length: number;
    readonly n_packed: number;
    readonly total_tokens: number;
    readonly lengths: ReadonlyArray<number>;
    readonly sha256: string;
    readonly first_packed: ReadonlyArray<number>;
    readonly seq_lengths?: ReadonlyArray<ReadonlyArray<number>>;
  }>;
}

withShared('packing of TRL 1.13', () => {
  it('packs the toy cases', () => {
    const { toy } = golden('packing_bfd.json') as { readonly toy: ReadonlyArray<PackingToy> };
    expect(toy.length).toBe(7);
    for (const { strategy, seq_length: maxLength, input, output } of toy) {
      const packed = packRows({ maxLength, packingStrategy: strategy })(input.map(rowOf));
      expect(packed.map(({ inputIds }) => [...inputIds])).toEqual(output.input_ids);
      if (output.seq_lengths !== undefined)
        expect(packed.map(({ seqLengths }) => seqLengths)).toEqual(output.seq_lengths);
    }
  });

  it('packs real rows', () => {
    const { real } = golden('packing_bfd.json') as { readonly real: ReadonlyArray<PackingReal> };
    let settings = 0;
    for (const { tokenizer: name, n_rows: count, row_lengths: lengths, results } of real) {
      const tokenizer = tokenizerNamed(name);
      const rows = codeAlpaca(count).map((text) =>
        rowOf([...tokenizer.encode(text, { addSpecialTokens: true }), tokenizer.eosTokenId ?? -1]),
      );
      expect(rows.map(({ inputIds }) => inputIds.length)).toEqual(lengths);
      for (const expected of results) {
        settings++;
        const packed = packRows({ maxLength: expected.seq_length, packingStrategy: expected.strategy })(rows);
        expect(packed.length).toBe(expected.n_packed);
        expect(packed.map(({ inputIds }) => inputIds.length)).toEqual(expected.lengths);
        expect([...(packed[0]?.inputIds ?? [])]).toEqual(expected.first_packed);
        if (expected.seq_lengths !== undefined)
          expect(packed.map(({ seqLengths }) => seqLengths)).toEqual(expected.seq_lengths);
        expect(sha256(packed.map(({ inputIds }) => inputIds))).toBe(expected.sha256);
      }
    }
    expect(settings).toBe(12);
  });
});

interface ConstantLength {
  readonly name: string;
  readonly tokenizer: string;
  readonly n_rows: number;
  readonly seq_length: number;
  readonly num_of_sequences: number;
  readonly chars_per_token: number;
  readonly eos_token_id_arg: number;
  readonly append_concat_token?: boolean;
  readonly add_special_tokens?: boolean;
  readonly n_examples: number;
  readonly first: ReadonlyArray<ReadonlyArray<number>>;
  readonly last: ReadonlyArray<number> | null;
  readonly sum_of_all_ids: number;
  readonly sha256_of_all: string;
}

interface Problem {
  readonly question: string;
  readonly answer: string;
}
const textsOf = ({ name, n_rows: count }: ConstantLength): ReadonlyArray<string> => {
  if (!name.startsWith('gsm8k')) return codeAlpaca(count);
  const lines = (sharedText('data', 'datasets', 'gsm8k_train.jsonl') ?? '').split('\n').slice(0, count);
  return lines.map((line) => {
    const { question, answer } = JSON.parse(line) as Problem;
    return `Question: ${question}\nAnswer: ${answer}`;
  });
};

withShared('ConstantLengthDataset of TRL 0.7.10', () => {
  const settings = present ? (golden('packing_constant_length.json') as ReadonlyArray<ConstantLength>) : [];
  it.each(settings.map((setting) => [setting.name, setting] as const))('%s', (_, setting) => {
    const windows = packConstantLengthRows({
      tokenizer: tokenizerNamed(setting.tokenizer),
      seqLength: setting.seq_length,
      numOfSequences: setting.num_of_sequences,
      charsPerToken: setting.chars_per_token,
      eosTokenId: setting.eos_token_id_arg,
      appendConcatToken: setting.append_concat_token,
      addSpecialTokens: setting.add_special_tokens,
      shuffle: false,
    })(textsOf(setting));
    expect(windows.length).toBe(setting.n_examples);
    expect(windows.slice(0, setting.first.length).map(({ inputIds }) => [...inputIds])).toEqual(setting.first);
    const last = windows[windows.length - 1];
    expect(last === undefined ? null : [...last.inputIds]).toEqual(setting.last);
    const all = windows.flatMap(({ inputIds }) => [...inputIds]);
    expect(all.reduce((sum, id) => sum + id, 0)).toBe(setting.sum_of_all_ids);
    expect(sha256(windows.map(({ inputIds }) => inputIds))).toBe(setting.sha256_of_all.split(' ').pop());
  });

  it('has its settings', () => {
    expect(settings.length).toBe(12);
  });
});

interface Collated {
  readonly name: string;
  readonly tokenizer: string;
  readonly pad_token_id: number;
  readonly response_template: string | ReadonlyArray<number>;
  readonly instruction_template: string | ReadonlyArray<number> | null;
  readonly max_length: number | null;
  readonly batch_size: number;
  readonly texts: ReadonlyArray<string>;
  readonly batches: ReadonlyArray<{
    readonly input_ids: ReadonlyArray<ReadonlyArray<number>>;
    readonly attention_lengths: ReadonlyArray<number>;
    readonly label_spans: ReadonlyArray<ReadonlyArray<readonly [number, number]>>;
  }>;
  readonly decoded_labels?: string;
}

const spansOf = (labels: Int32Array): ReadonlyArray<readonly [number, number]> => {
  const spans: Array<[number, number]> = [];
  for (const [t, label] of labels.entries()) {
    const last = spans[spans.length - 1];
    if (label === -100) continue;
    if (last?.[1] === t) last[1] = t + 1;
    else spans.push([t, t + 1]);
  }
  return spans;
};

withShared('DataCollatorForCompletionOnlyLM of TRL 0.7.10', () => {
  const settings = present ? (golden('completion_only_collator.json') as ReadonlyArray<Collated>) : [];
  it.each(settings.map((setting) => [setting.name, setting] as const))('%s', (_, setting) => {
    const tokenizer = tokenizerNamed(setting.tokenizer);
    const { pad_token_id: padTokenId, instruction_template: instruction } = setting;
    const mask = maskCompletionsRow({
      parity: 'trl-0.7.10',
      padTokenId,
      responseTemplate: templateIds(setting.response_template, tokenizer),
      instructionTemplate: instruction === null ? undefined : templateIds(instruction, tokenizer),
    });
    for (const [b, batch] of setting.batches.entries()) {
      const texts = setting.texts.slice(b * setting.batch_size, (b + 1) * setting.batch_size);
      const rows = texts.map((text) => {
        const ids = tokenizer.encode(text, { addSpecialTokens: true });
        return rowOf(setting.max_length === null ? ids : ids.subarray(0, setting.max_length));
      });
      expect(rows.map(({ inputIds }) => inputIds.length)).toEqual(batch.attention_lengths);
      const length = Math.max(...batch.attention_lengths);
      for (const [i, row] of rows.entries()) {
        const labelled = mask(row);
        if (labelled._tag === 'Left') throw new Error(labelled.left.message);
        const padded = padRow<typeof labelled.right>({ padTokenId, length })(labelled.right);
        if (padded._tag === 'Left') throw new Error(padded.left.message);
        expect([...padded.right.inputIds]).toEqual(batch.input_ids[i]);
        expect(spansOf(padded.right.labels)).toEqual(batch.label_spans[i]);
        if (setting.decoded_labels !== undefined) {
          expect(tokenizer.decode(padded.right.labels.filter((label) => label !== -100))).toBe(setting.decoded_labels);
        }
      }
    }
  });

  it('has its settings', () => {
    expect(settings.length).toBe(29);
  });
});
