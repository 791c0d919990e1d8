/** Ids and decodings of `golden/tokenization` of the shared test data, for every tokenizer there. */
import { createHash } from 'node:crypto';
import { describe, expect, test } from '@jest/globals';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { sharedPath } from '../shared.js';
import { sharedText, sharedTokenizer } from '../sharedTokenizer.js';

const present = sharedPath('data', 'golden', 'tokenization') !== undefined;
const whenThere = present ? describe : describe.skip;
if (!present) process.stdout.write('skipped: goldens of tokenizers (no shared test data here)\n');

const golden = <A>(name: string, none: A): A =>
  JSON.parse(sharedText('data', 'golden', 'tokenization', name) ?? JSON.stringify(none)) as A;

const tokenizers = new Map<string, Tokenizer>();
const tokenizerNamed = (name: string): Tokenizer => {
  const known = tokenizers.get(name) ?? sharedTokenizer(name);
  tokenizers.set(name, known);
  return known;
};

interface Bulk {
  readonly items: ReadonlyArray<{
    readonly tokenizer: string;
    readonly data: string;
    readonly rows: number;
    readonly tokens: number;
    readonly sha256: string;
    readonly row_lengths: ReadonlyArray<number>;
    readonly first_rows: ReadonlyArray<ReadonlyArray<number>>;
    readonly rows_that_decode_back_exactly: number;
  }>;
}

type Fields = Readonly<Record<string, string | undefined>>;
const dataset = (name: string): unknown => JSON.parse(sharedText('data', 'datasets', name) ?? '[]');
const instructions = (name: string): ReadonlyArray<string> =>
  (dataset(name) as ReadonlyArray<Fields>).map(
    ({ instruction = '', input = '', output = '' }) => `${instruction}\n${input}\n${output}`,
  );
const readers: Readonly<Record<string, () => ReadonlyArray<string>>> = {
  alpaca_en_demo: () => instructions('alpaca_en_demo.json'),
  alpaca_zh_demo: () => instructions('alpaca_zh_demo.json'),
  code_alpaca_2k: () => instructions('code_alpaca_2k.json'),
  oaast_sft_zh: () => instructions('oaast_sft_zh.json'),
  tinystories: () => dataset('tinystories_0-799.json') as ReadonlyArray<string>,
  gsm8k_train: () =>
    (sharedText('data', 'datasets', 'gsm8k_train.jsonl') ?? '')
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Fields)
      .map(({ question = '', answer = '' }) => `${question}\n${answer}`),
};
const read = new Map<string, ReadonlyArray<string>>();
const textsOf = (data: string, rows: number): ReadonlyArray<string> => {
  const name = data.split(' ')[0] ?? '';
  const all = read.get(name) ?? readers[name]?.() ?? [];
  read.set(name, all);
  return all.slice(0, rows);
};

whenThere('whole data sets', () => {
  const { items } = golden<Bulk>('bulk.json', { items: [] });

  test('are all there', () => {
    expect(items.length).toBe(60);
  });

  test.each(items.map((item) => [item.tokenizer, item.data, item] as const))('%s on %s', (name, data, item) => {
    const tokenizer = tokenizerNamed(name);
    const texts = textsOf(data, item.rows);
    expect(texts.length).toBe(item.rows);
    const ids = texts.map((text) => tokenizer.encode(text, { addSpecialTokens: true }));
    expect(ids.slice(0, item.first_rows.length).map((row) => [...row])).toEqual(item.first_rows);
    expect(ids.map(({ length }) => length)).toEqual(item.row_lengths);
    expect(ids.reduce((sum, { length }) => sum + length, 0)).toBe(item.tokens);
    expect(
      createHash('sha256')
        .update(ids.map((row) => row.join(' ')).join('\n'))
        .digest('hex'),
    ).toBe(item.sha256);
    const back = ids.filter((row, i) => tokenizer.decode(row, { skipSpecialTokens: true }) === texts[i]).length;
    expect(back).toBe(item.rows_that_decode_back_exactly);
  });
});

interface Hard {
  readonly cases: ReadonlyArray<{
    readonly text: string;
    readonly ids: Readonly<Record<string, ReadonlyArray<number>>>;
  }>;
}

whenThere('hard strings of llama.cpp', () => {
  const { cases } = golden<Hard>('llamacpp.json', { cases: [] });

  test('are all there', () => {
    expect(cases.length).toBe(38);
  });

  for (const name of Object.keys(cases[0]?.ids ?? {})) {
    test(name, () => {
      const tokenizer = tokenizerNamed(name);
      for (const { text, ids } of cases) {
        expect([text, ...tokenizer.encode(text, { addSpecialTokens: false })]).toEqual([text, ...(ids[name] ?? [])]);
      }
    });
  }

  test('opt: roberta-base behind its one special token', () => {
    const tokenizer = tokenizerNamed('opt');
    for (const { text, ids } of cases) {
      expect([text, ...tokenizer.encode(text, { addSpecialTokens: true })]).toEqual([
        text,
        2,
        ...(ids['roberta-base'] ?? []),
      ]);
    }
  });
});

interface Recorded {
  readonly input_ids: ReadonlyArray<number>;
  readonly decoded_with_special: string;
  readonly decoded_skip_special: string;
}

whenThere('strings of many languages', () => {
  const cases = golden<
    ReadonlyArray<{ readonly id: string; readonly text: string; readonly expected: Readonly<Record<string, Recorded>> }>
  >('multilingual.json', []);

  test('are all there', () => {
    expect(cases.length).toBe(67);
  });

  for (const name of ['gpt2', 'roberta-base', 'tinyllama-chat', 'qwen2']) {
    test(name, () => {
      const tokenizer = tokenizerNamed(name);
      for (const { id, text, expected } of cases) {
        const one = expected[name];
        if (one === undefined) throw new Error(`${id} has no ${name}`);
        expect([id, ...tokenizer.encode(text, { addSpecialTokens: true })]).toEqual([id, ...one.input_ids]);
        expect([id, tokenizer.decode(one.input_ids)]).toEqual([id, one.decoded_with_special]);
        expect([id, tokenizer.decode(one.input_ids, { skipSpecialTokens: true })]).toEqual([
          id,
          one.decoded_skip_special,
        ]);
      }
    });
  }
});

whenThere('strings of swift-transformers', () => {
  const all = golden<Readonly<Record<string, ReadonlyArray<Recorded & { readonly text: string }>>>>(
    'swift_transformers.json',
    {},
  );

  test('are all there', () => {
    expect(Object.values(all).map(({ length }) => length)).toEqual([15, 15, 15]);
  });

  for (const [name, cases] of Object.entries(all)) {
    test(name, () => {
      const tokenizer = tokenizerNamed(name);
      for (const { text, input_ids: ids, decoded_with_special: whole, decoded_skip_special: bare } of cases) {
        expect([text, ...tokenizer.encode(text, { addSpecialTokens: true })]).toEqual([text, ...ids]);
        expect([tokenizer.decode(ids), tokenizer.decode(ids, { skipSpecialTokens: true })]).toEqual([whole, bare]);
      }
    });
  }
});
