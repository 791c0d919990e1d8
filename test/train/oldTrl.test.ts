/** Rows under `parity: 'trl-0.7.10'` as the SFTTrainer of that version batches them: test/golden/trl/old.json (reference/old_trl.py). */
import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { isLeft } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { withChatFormat } from '../../src/formats/tokenizing/addTokens.js';
import { tokenizerOfFiles } from '../../src/formats/tokenizing/tokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import { maxLengthOf } from '../../src/train/preparing/prepare.js';
import { prepareRows } from '../../src/train/preparing/prepareRows.js';

interface Case {
  readonly kind: string;
  readonly rows: ReadonlyArray<Readonly<Record<string, unknown>>>;
  readonly chatFormat: boolean;
  readonly surround: 'own' | 'ending' | 'named';
  readonly side: 'left' | 'right';
  readonly field: string | null;
  readonly format: keyof typeof formats | null;
  readonly maxLength: number | null;
  readonly packing: boolean;
  readonly padIsEos: boolean;
  readonly kwargs: { readonly add_special_tokens?: boolean; readonly append_concat_token?: boolean };
  readonly numOfSequences?: number;
  readonly charsPerToken?: number;
  readonly responseTemplate: string | ReadonlyArray<number> | null;
  readonly instructionTemplate: string | ReadonlyArray<number> | null;
  readonly patches: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly vocabulary: Readonly<Record<'bos' | 'eos' | 'pad', number | null>>;
  readonly made: ReadonlyArray<{ readonly ids: ReadonlyArray<number>; readonly labels: ReadonlyArray<number> }>;
}

const formats = {
  question: ({ question, answer }: Record<string, string>) => `### Question: ${question}\n ### Answer: ${answer}`,
  answer: ({ answer }: Record<string, string>) => String(answer),
  doubled: ({ text }: Record<string, string>) => `${text} ${text}`,
};

const { cases } = JSON.parse(readFileSync(new URL('../golden/trl/old.json', import.meta.url), 'utf8')) as {
  readonly cases: ReadonlyArray<Case>;
};

const base = new URL('../../examples/quickstart/base/', import.meta.url);
const rightOf = <A>(result: Either<Error, A>): A => {
  if (isLeft(result)) throw result.left;
  return result.right;
};

const tokenizerOf = ({ patches, chatFormat }: Case): Tokenizer => {
  const patched = (name: string): [string, string] => {
    const own = JSON.parse(readFileSync(new URL(name, base), 'utf8')) as object;
    return [name, JSON.stringify({ ...own, ...patches[name] })];
  };
  const made = rightOf(tokenizerOfFiles(Object.fromEntries(['tokenizer.json', 'tokenizer_config.json'].map(patched))));
  return chatFormat ? rightOf(withChatFormat(made, { parity: true })) : made;
};

const prepared = async (one: Case, tokenizer: Tokenizer) => {
  const { field, format, maxLength, packing, kwargs, responseTemplate, instructionTemplate } = one;
  const config = rightOf(
    decodeSftConfig({
      parity: 'trl-0.7.10',
      shuffle: false,
      packing,
      ...(maxLength === null ? {} : { maxLength }),
      ...(field === null ? {} : { datasetTextField: field }),
      ...(one.numOfSequences === undefined ? {} : { numOfSequences: one.numOfSequences }),
      ...(one.charsPerToken === undefined ? {} : { charsPerToken: one.charsPerToken }),
      ...(responseTemplate === null ? {} : { responseTemplate }),
      ...(instructionTemplate === null ? {} : { instructionTemplate }),
      ...(kwargs.add_special_tokens === undefined ? {} : { addSpecialTokens: kwargs.add_special_tokens }),
      ...(kwargs.append_concat_token === undefined ? {} : { appendConcatToken: kwargs.append_concat_token }),
    }),
  );
  const formattingFunc =
    format === null ? undefined : (row: unknown): string => formats[format](row as Record<string, string>);
  const { rows } = await orThrow(
    prepareRows(
      one.rows,
      { tokenizer, ...(formattingFunc === undefined ? {} : { formattingFunc }) },
      { ...config, maxLength: maxLengthOf(config, tokenizer) },
    ),
  );
  return rows.map(({ inputIds, labels }) => ({ ids: [...inputIds], labels: [...labels] }));
};

const nameOf = ({ kind, packing, surround, side, responseTemplate, chatFormat, maxLength }: Case, at: number): string =>
  [
    `${at}: ${kind}`,
    packing ? 'packed' : `cut at ${maxLength ?? 1024} on the ${side}`,
    `tokens around texts: ${surround}`,
    ...(chatFormat ? ['chat format'] : []),
    ...(responseTemplate === null ? [] : ['responses alone']),
  ].join(', ');

describe('rows of the SFTTrainer of TRL 0.7.10', () => {
  test.each(cases.map((one, at) => [nameOf(one, at), one] as const))('%s', async (_, one) => {
    const tokenizer = tokenizerOf(one);
    const { bosTokenId = null, eosTokenId = null, padTokenId = null } = tokenizer;
    expect({ bos: bosTokenId, eos: eosTokenId, pad: padTokenId }).toEqual(one.vocabulary);
    expect(await prepared(one, tokenizer)).toEqual(one.made);
  });

  test('are many, and of every kind', () => {
    expect(cases.reduce((sum, { made }) => sum + made.length, 0)).toBeGreaterThan(1000);
    const kinds = new Set(cases.map(({ kind, packing }) => `${kind} ${packing}`));
    expect(kinds.size).toBe(14);
    expect(cases.some(({ made }) => made.some(({ labels }) => labels.every((label) => label === -100)))).toBe(true);
  });
});
