/** GGUF files, byte for byte what the gguf package writes (reference/gguf_vectors.py), and tokenizers in llama.cpp's terms. */
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { describe, expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { encodeQ8 } from '../../src/formats/gguf/blocks.js';
import { bool, float32, float32s, int32s, string, strings, uint32 } from '../../src/formats/gguf/values.js';
import { cutsLike } from '../../src/formats/gguf/cuts.js';
import { ggufVocabulary } from '../../src/formats/gguf/vocabulary.js';
import type { ModelTokens } from '../../src/formats/gguf/vocabulary.js';
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

const of = (rows: number, more: Partial<ModelTokens> = {}): ModelTokens => ({
  rows,
  endIds: [],
  architecture: 'llama',
  ...more,
});

const values = (tokenizer: Parameters<typeof ggufVocabulary>[0], rowCount: number): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(made(ggufVocabulary(tokenizer, of(rowCount))).metadata).map(([key, { value }]) => [
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
  const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  const seed = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1}| ?[^\s\p{L}\p{N}\r\n]+|\s*[\r\n]+|\s+(?!\S)|\s+`;
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
    [cutBy(seed), 'seed-coder'],
    [cutBy(' ?[^(\\s|[.,!?…。，、।۔،])]+'), 'bloom'],
    [
      {
        type: 'Sequence',
        pretokenizers: [
          ...['[\r\n]', '\\s?\\p{L}+', '\\s?\\p{P}+', '[一-龥ࠀ-一가-퟿]+'].map((Regex) => ({
            type: 'Split',
            pattern: { Regex },
            behavior: 'Isolated',
          })),
          { type: 'Digits', individual_digits: true },
          bytesStep,
        ],
      },
      'deepseek-coder',
    ],
    // What it finds is left out.
    [
      {
        type: 'Sequence',
        pretokenizers: [{ type: 'Split', pattern: { Regex: llama3 }, behavior: 'Removed' }, bytesStep],
      },
      undefined,
    ],
  ])('cut by %j is %p', (preTokenizer, name) => {
    expect(cutsLike(preTokenizer)[0]?.name).toBe(name);
  });

  /** A tokenizer of a few letters, with an end. */
  const few = (json: object, model: object = {}, config: object = { eos_token: '<e>' }) =>
    made(
      tokenizerOfFiles({
        'tokenizer.json': JSON.stringify({
          pre_tokenizer: { ...bytesStep, use_regex: true },
          decoder: { type: 'ByteLevel' },
          added_tokens: [added('<e>', 4)],
          ...json,
          model: { type: 'BPE', vocab: { a: 0, b: 1, ab: 2, aba: 3, '<e>': 4 }, merges: ['a b'], ...model },
        }),
        'tokenizer_config.json': JSON.stringify(config),
      }),
    );
  const added = (content: string, id: number, more: object = {}): object => ({
    id,
    content,
    special: true,
    single_word: false,
    lstrip: false,
    rstrip: false,
    normalized: false,
    ...more,
  });
  const toldOf = (tokenizer: Parameters<typeof ggufVocabulary>[0], more: Partial<ModelTokens> = {}) =>
    made(ggufVocabulary(tokenizer, of(8, more))).warnings.map(({ code, field }) => [code, field]);
  const preOf = (json: object, model: object): unknown => values(few(json, model), 8)['pre'];

  test('that takes words whole which its merges do not make has a rule that does; where there is none it is told', () => {
    for (const ignores of [true, false])
      expect(preOf({ pre_tokenizer: cutBy(llama3) }, { ignore_merges: ignores })).toBe(ignores ? 'llama-bpe' : 'dbrx');
    const whole = [['W_GGUF_TOKENIZER', 'model.ignore_merges']];
    expect(toldOf(few({}, { ignore_merges: true }))).toEqual(whole);
    // Where merges make every word, it makes no difference.
    expect(toldOf(few({}, { ignore_merges: true, merges: ['a b', 'ab a'] }))).toEqual([]);
    expect(toldOf(few({ pre_tokenizer: cutBy(seed) }, { ignore_merges: true }))).toEqual(whole);
    expect(toldOf(few({ pre_tokenizer: cutBy(seed) }))).toEqual([]);
  });

  test('whose texts llama.cpp changes otherwise is told of, or refused', () => {
    expect(toldOf(few({ normalizer: { type: 'NFC' } }))).toEqual([['W_GGUF_TOKENIZER', 'normalizer']]);
    expect(ggufVocabulary(few({ normalizer: { type: 'Lowercase' } }), of(8))).toMatchObject({
      left: { code: 'E_GGUF_TOKENIZER', details: { field: 'normalizer' } },
    });
    expect(toldOf(few({ pre_tokenizer: cutBy(tekken) }, { ignore_merges: true }))).toEqual([
      ['W_GGUF_TOKENIZER', 'pre_tokenizer'],
    ]);
  });

  test('whose added tokens take blanks in is told of, but under the name by which llama.cpp does so', () => {
    const taking = few({ added_tokens: [added('<e>', 4), added('<u>', 5, { rstrip: true })] });
    expect(toldOf(taking)).toEqual([['W_GGUF_TOKENIZER', 'added_tokens']]);
    const tokens = ['<unk>', '<s>', '</s>', '<|endoftext|>', '<|user|>'];
    const plain = ['<unk>', '<s>', '<|endoftext|>'];
    const phi3 = few(
      { added_tokens: tokens.map((token, i) => added(token, 4 + i, { rstrip: !plain.includes(token) })) },
      {},
      { eos_token: '</s>' },
    );
    expect(toldOf(phi3, { rows: 9 })).toEqual([['W_GGUF_TOKENIZER', 'added_tokens']]);
    expect(toldOf(phi3, { rows: 9, name: 'My Phi-3' })).toEqual([]);
    // It would not be opened.
    expect(made(ggufVocabulary(few({}), of(8, { name: 'my-phi3' })))).toMatchObject({
      named: false,
      warnings: [{ code: 'W_GGUF_NAME' }],
    });
  });

  test("the ends that llama.cpp does not know by name are told as the end of a text, of a turn and of a message; a model's stand in", () => {
    const tokens = [added('<e>', 4), added('<|im_end|>', 5), added('<stop>', 6), added('<over>', 7), added('<out>', 8)];
    const found = (endIds: ReadonlyArray<number>, config?: object) =>
      made(ggufVocabulary(few({ added_tokens: tokens }, {}, config), of(9, { endIds, bosTokenId: 8 })));
    const { metadata, warnings } = found([5, 6, 7]);
    expect(metadata).toMatchObject({
      'tokenizer.ggml.bos_token_id': { value: 8 },
      'tokenizer.ggml.eos_token_id': { value: 4 },
      'tokenizer.ggml.eot_token_id': { value: 6 },
      'tokenizer.ggml.eom_token_id': { value: 7 },
    });
    expect(warnings).toEqual([]);
    expect(found([6, 7, 8]).warnings).toMatchObject([{ code: 'W_GGUF_TOKENIZER', field: 'eos_token_id' }]);
    expect(found([6], {}).metadata['tokenizer.ggml.eos_token_id']).toMatchObject({ value: 6 });
    expect(found([], {}).warnings).toMatchObject([{ code: 'W_GGUF_TOKENIZER', field: 'eos_token' }]);
    // Rows that the model has not.
    expect(found([9], {}).metadata).not.toHaveProperty(['tokenizer.ggml.eos_token_id']);
  });

  test("of SentencePiece's kind is Gemma 4's own in a Gemma 4; other pieces are refused, and a blank at the beginning alone is told", () => {
    const blanks = { type: 'Replace', pattern: { String: ' ' }, content: '▁' };
    const pieces = (json: object) => few({ normalizer: blanks, pre_tokenizer: null, ...json }, { byte_fallback: true });
    const gemma = ['<e>', '<|tool_call>'].map((token, i) => added(token, 4 + i));
    const own = made(ggufVocabulary(pieces({ added_tokens: gemma }), of(6, { architecture: 'gemma4' }))).metadata;
    expect(own['tokenizer.ggml.model']).toMatchObject({ value: 'gemma4' });
    expect(own['tokenizer.ggml.merges']).toMatchObject({ value: ['a b'] });
    expect(own['tokenizer.ggml.token_type']).toMatchObject({ value: [1, 1, 1, 1, 3, 4] });
    expect(values(pieces({}), 5)['model']).toBe('llama');
    expect(ggufVocabulary(pieces({ pre_tokenizer: { type: 'Digits', individual_digits: true } }), of(5))).toMatchObject(
      {
        left: { details: { field: 'pre_tokenizer' } },
      },
    );
    const first = { type: 'Metaspace', replacement: '▁', prepend_scheme: 'first', split: false };
    expect(toldOf(pieces({ normalizer: null, pre_tokenizer: first }))).toEqual([
      ['W_GGUF_TOKENIZER', 'pre_tokenizer.prepend_scheme'],
    ]);
  });

  test('that llama.cpp would read otherwise is refused', () => {
    const json = { model: { type: 'WordPiece', vocab: { a: 0, '[UNK]': 1 }, unk_token: '[UNK]' } };
    const words = made(tokenizerOfFiles({ 'tokenizer.json': JSON.stringify(json) }));
    expect(ggufVocabulary(words, of(2))).toMatchObject({
      left: { code: 'E_GGUF_TOKENIZER', details: { field: 'model.type' } },
    });
    const metaspace = { model: { type: 'BPE', vocab: { a: 0 }, merges: [] }, pre_tokenizer: { type: 'Whitespace' } };
    const split = made(tokenizerOfFiles({ 'tokenizer.json': JSON.stringify(metaspace) }));
    expect(ggufVocabulary(split, of(1))).toMatchObject({ left: { details: { field: 'pre_tokenizer' } } });
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
