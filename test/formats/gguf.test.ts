/** GGUF files, byte for byte what the gguf package writes (reference/gguf_vectors.py), and tokenizers in llama.cpp's terms. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { encodeQ8 } from '../../src/formats/gguf/blocks.js';
import { bool, float32, float32s, int32s, string, strings, uint32 } from '../../src/formats/gguf/values.js';
import { ggufVocabulary, preTokenizerName } from '../../src/formats/gguf/vocabulary.js';
import { fittingType, writeGguf } from '../../src/formats/gguf/writeGguf.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import { tokenizerOfFiles } from '../../src/formats/tokenizing/tokenizer.js';
import { withChatFormat } from '../../src/formats/tokenizing/addTokens.js';
import { inTemporary } from '../cli/rxtune.js';
import { orThrow as made } from '../model/loadModel.js';
import { sharedPath } from '../shared.js';
import { goldenTokenizer } from './golden.js';

const golden = JSON.parse(readFileSync(resolve(import.meta.dirname, '..', 'golden', 'gguf.json'), 'utf8')) as Readonly<
  Record<'rows' | 'q8_0' | 'file', string>
>;
const bytes = (name: keyof typeof golden): Uint8Array => Uint8Array.from(Buffer.from(golden[name], 'base64'));
const rows = new Float32Array(bytes('rows').buffer);
const tensor = (name: string, shape: ReadonlyArray<number>, type: 'f32' | 'f16' | 'q8_0') => ({
  name,
  shape,
  type,
  parts: [
    () =>
      Promise.resolve(
        rows.slice(
          0,
          shape.reduce((a, b) => a * b, 1),
        ),
      ),
  ],
});

describe('writing', () => {
  test("q8_0 has the bytes of gguf's own quantiser", () => {
    expect(encodeQ8(rows)).toEqual(bytes('q8_0'));
  });

  test('a file has the bytes that the gguf package writes', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'small.gguf');
      const metadata = {
        'general.architecture': string('llama'),
        'general.type': string('model'),
        'llama.block_count': uint32(3),
        'llama.rope.freq_base': float32(10_000),
        'tokenizer.ggml.add_bos_token': bool(true),
        'tokenizer.ggml.tokens': strings(['a', 'Ġé', '漢字', '']),
        'tokenizer.ggml.token_type': int32s([1, 3, 4, 5]),
        'tokenizer.ggml.scores': float32s([0, -1.5, -2, 0.25]),
      };
      await orThrow(
        writeGguf(file, metadata, [
          tensor('output_norm.weight', [5], 'f32'),
          tensor('token_embd.weight', [3, 64], 'f16'),
          tensor('output.weight', [3, 64], 'q8_0'),
        ]),
      );
      expect(readFileSync(file).equals(bytes('file'))).toBe(true);
    }));

  test('rows that are no multiple of 32 long are float16', () => {
    expect(fittingType('q8_0', [4, 33])).toBe('f16');
    expect(fittingType('q8_0', [33, 64])).toBe('q8_0');
    expect(fittingType('f32', [4, 33])).toBe('f32');
  });

  test('what does not fit is refused, and no file is left', () =>
    inTemporary(async (directory) => {
      const file = join(directory, 'wrong.gguf');
      const short = { ...tensor('a', [2, 32], 'f32'), parts: [() => Promise.resolve(new Float32Array(3))] };
      expect(await writeGguf(file, {}, [short])()).toMatchObject({ left: { code: 'E_TENSOR_SIZE' } });
      expect(await writeGguf(file, {}, [tensor('a', [2, 33], 'q8_0')])()).toMatchObject({
        left: { code: 'E_TENSOR_SHAPE' },
      });
      expect(readdirSync(directory)).toEqual([]);
    }));
});

const values = (tokenizer: Parameters<typeof ggufVocabulary>[0], rowCount: number): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(made(ggufVocabulary(tokenizer, rowCount))).map(([key, { value }]) => [
      key.replace('tokenizer.ggml.', ''),
      value,
    ]),
  );

describe('a tokenizer', () => {
  test('of bytes: tokens, kinds, merges, ids, template', () => {
    const tokenizer = made(withChatFormat(goldenTokenizer('gpt2')));
    const found = values(tokenizer, tokenizer.vocabSize + 2);
    const tokens = found['tokens'] as ReadonlyArray<string>;
    expect(found).toMatchObject({ model: 'gpt2', pre: 'gpt-2', bos_token_id: tokenizer.bosTokenId });
    expect(found['tokenizer.chat_template']).toBe(tokenizer.chatTemplate?.source);
    expect(tokens.slice(-2)).toEqual([`[PAD${tokenizer.vocabSize}]`, `[PAD${tokenizer.vocabSize + 1}]`]);
    expect(tokens[tokenizer.eosTokenId ?? -1]).toBe('<|im_end|>');
    const kinds = Array.from(found['token_type'] as ReadonlyArray<number>);
    expect(kinds.slice(-2)).toEqual([5, 5]);
    expect(kinds[tokenizer.eosTokenId ?? -1]).toBe(3);
    const merges = found['merges'] as ReadonlyArray<string>;
    expect(merges.every((pair) => tokens.includes(pair.replace(' ', '')))).toBe(true);
  });

  test('of SentencePiece: bytes, and scores by which the same pairs merge first', () => {
    const tokenizer = goldenTokenizer('llama2', { bos_token: '<s>', unk_token: '<unk>' });
    const found = values(tokenizer, tokenizer.vocabSize);
    expect(found).toMatchObject({ model: 'llama', add_space_prefix: true, unknown_token_id: 0 });
    const tokens = found['tokens'] as ReadonlyArray<string>;
    const scores = found['scores'] as ReadonlyArray<number>;
    const kinds = found['token_type'] as ReadonlyArray<number>;
    expect(kinds[tokens.indexOf('<0x0A>')]).toBe(6);
    expect(kinds[tokens.indexOf('<unk>')]).toBe(2);
    const { merges } = (JSON.parse(tokenizer.files['tokenizer.json'] ?? '') as { model: { merges: unknown[] } }).model;
    const made = [
      ...new Set(merges.map((pair) => (Array.isArray(pair) ? pair.join('') : String(pair).replace(' ', '')))),
    ];
    const inOrder = made.map((token) => scores[tokens.indexOf(token)] ?? NaN);
    expect(inOrder).toEqual(inOrder.toSorted((a, b) => b - a));
    expect(new Set(inOrder).size).toBe(made.length);
  });

  const bytesStep = { type: 'ByteLevel', add_prefix_space: false, use_regex: false };
  const cutBy = (...patterns: ReadonlyArray<string>): object => ({
    type: 'Sequence',
    pretokenizers: [
      ...patterns.map((Regex) => ({ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false })),
      bytesStep,
    ],
  });
  // As the models' files have them.
  const tekken = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const gpt4o = String.raw`[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const qwen35 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const deepseek = [
    String.raw`\p{N}{1,3}`,
    '[一-龥぀-ゟ゠-ヿ]+',
    `${String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`}\`${String.raw`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`}`,
  ];
  const falcon = [
    { type: 'Punctuation', behavior: 'Contiguous' },
    { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: true },
    { type: 'Digits', individual_digits: false },
    { type: 'Split', pattern: { Regex: '[0-9][0-9][0-9]' }, behavior: 'Isolated', invert: false },
  ];
  test.each([
    [null, undefined],
    [{ ...bytesStep, use_regex: true }, 'gpt-2'],
    [{ ...bytesStep, use_regex: true, add_prefix_space: true }, undefined],
    [bytesStep, undefined],
    [
      { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: true }, { type: 'ByteLevel' }] },
      'smollm',
    ],
    [
      { type: 'Sequence', pretokenizers: [{ type: 'Digits', individual_digits: false }, { type: 'ByteLevel' }] },
      undefined,
    ],
    [{ type: 'Sequence', pretokenizers: [{ type: 'Split', pattern: { Regex: '\\s+' } }, bytesStep] }, undefined],
    [cutBy(tekken), 'tekken'],
    [cutBy(gpt4o), 'gpt-4o'],
    [cutBy(qwen35), 'qwen35'],
    [cutBy(...deepseek), 'deepseek-v3'],
    [cutBy(...deepseek.map((pattern) => pattern.replaceAll(String.raw`\r\n`, '\r\n'))), 'deepseek-v3'],
    [cutBy(...deepseek.toReversed()), undefined],
    [cutBy(tekken, '\\s+'), undefined],
    [{ type: 'Sequence', pretokenizers: falcon }, 'falcon'],
    [{ type: 'Sequence', pretokenizers: falcon.slice(1) }, undefined],
    [{ type: 'Sequence', pretokenizers: [...falcon, bytesStep] }, undefined],
  ])('cut by %j is %p', (preTokenizer, name) => {
    expect(preTokenizerName(preTokenizer)).toBe(name);
  });

  test('that llama.cpp would read otherwise is refused', () => {
    const json = { model: { type: 'WordPiece', vocab: { a: 0, '[UNK]': 1 }, unk_token: '[UNK]' } };
    const words = made(tokenizerOfFiles({ 'tokenizer.json': JSON.stringify(json) }));
    expect(ggufVocabulary(words, 2)).toMatchObject({
      left: { code: 'E_GGUF_TOKENIZER', details: { field: 'model.type' } },
    });
    const metaspace = { model: { type: 'BPE', vocab: { a: 0 }, merges: [] }, pre_tokenizer: { type: 'Whitespace' } };
    const split = made(tokenizerOfFiles({ 'tokenizer.json': JSON.stringify(metaspace) }));
    expect(ggufVocabulary(split, 1)).toMatchObject({ left: { details: { field: 'pre_tokenizer' } } });
  });
});

const shared = sharedPath('data', 'tokenizers');
(shared === undefined ? describe.skip : describe)(
  'tokenizers of real models (skipped without the shared test data)',
  () => {
    test.each([
      ['gpt2', 'gpt2', 'gpt-2'],
      ['llama3', 'gpt2', 'llama-bpe'],
      ['qwen2', 'gpt2', 'qwen2'],
      ['phi-2', 'gpt2', 'gpt-2'],
      ['tinyllama-chat', 'llama', 'default'],
      ['mistral-7b-instruct-v0.2', 'llama', 'default'],
    ])('%s', (name, model, pre) =>
      inTemporary(async (directory) => {
        const { cp, readdir, writeFile } = await import('node:fs/promises');
        await cp(join(shared ?? '', name), directory, { recursive: true });
        for (const file of await readdir(directory))
          if (file.endsWith('.gz'))
            await writeFile(join(directory, file.slice(0, -3)), gunzipSync(readFileSync(join(directory, file))));
        const tokenizer = await orThrow(loadTokenizer(directory));
        expect(values(tokenizer, tokenizer.vocabSize)).toMatchObject({ model, pre });
      }),
    );
  },
);
