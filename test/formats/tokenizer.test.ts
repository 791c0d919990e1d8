import { readFileSync } from 'node:fs';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, describe, expect, test } from '@jest/globals';
import { isLeft, isRight, type Either } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../src/errors.js';
import { loadTokenizer } from '../../src/formats/tokenizing/loadTokenizer.js';
import { makeTokenizer, type Tokenizer, tokenizerOfFiles } from '../../src/formats/tokenizing/tokenizer.js';
import { goldenTokenizer, goldenTokenizerJson, goldenTokenizers } from './golden.js';

const made = (result: Either<FatalError, Tokenizer>): Tokenizer => {
  if (isLeft(result)) throw result.left;
  return result.right;
};

const refusal = (result: Either<FatalError, Tokenizer>): FatalError => {
  if (isRight(result)) throw new Error('made a tokenizer');
  return result.left;
};

const folders: string[] = [];

const folderOf = async (files: Readonly<Record<string, string>>): Promise<string> => {
  const folder = await mkdtemp(join(tmpdir(), 'rxtune-tokenizer-'));
  folders.push(folder);
  for (const [name, text] of Object.entries(files)) await writeFile(join(folder, name), text);
  return folder;
};

afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true });
});

const bare = { addSpecialTokens: false };

describe('as the tokenizers library has it', () => {
  /** Code points → UTF-16. */
  const units = (text: string, positions: ReadonlyArray<number>): ReadonlyArray<number> => {
    const starts = [0];
    for (const character of text) starts.push((starts.at(-1) ?? 0) + character.length);
    return positions.map((position) => starts[position] ?? -1);
  };
  /** Where a mark was composed with its letter, the library's offsets leave the mark out; ours cover it. */
  const composed = /[\p{M}\u1160-\u11FF]/u;

  for (const [name, { rows }] of Object.entries(goldenTokenizers.tokenizers)) {
    const composes = name === 'qwen2' || name === 'unigram-nfkc';
    // The library decodes a normalised added token in its normalised spelling; the file's spelling is kept here.
    const decodes = name !== 'normalized-added-tokens';

    test(`${name}: ids, offsets, special tokens and decodings`, () => {
      const tokenizer = goldenTokenizer(name);
      expect(tokenizer.path).toBe('own');
      rows.forEach((row, i) => {
        const text = goldenTokenizers.texts[i] ?? '';
        const full = row.with_special ?? row.ids;
        const { ids, offsets } = tokenizer.encodeWithOffsets(text, bare);
        expect([text, ...tokenizer.encode(text, bare)]).toEqual([text, ...row.ids]);
        expect([text, ...ids]).toEqual([text, ...row.ids]);
        expect([text, ...tokenizer.encode(text, { addSpecialTokens: true })]).toEqual([text, ...full]);
        if (!(composes && composed.test(text))) {
          expect([text, ...offsets]).toEqual([text, ...units(text, row.offsets)]);
        }
        if (decodes) {
          expect(tokenizer.decode(full)).toBe(row.decoded);
          expect(tokenizer.decode(full, { skipSpecialTokens: true })).toBe(row.skipped);
        }
      });
    });
  }

  test('offsets cover a letter together with the mark composed with it', () => {
    const tokenizer = goldenTokenizer('unigram-nfkc');
    const { ids, offsets } = tokenizer.encodeWithOffsets('e\u0301n', bare);
    expect(tokenizer.decode(ids).trim()).toBe('\u00e9n');
    expect(offsets[offsets.length - 2 * 2 + 1]).toBe(2);
    expect(offsets.at(-1)).toBe(3);
  });
});

describe('texts', () => {
  test('lone surrogates count as U+FFFD, at their place', () => {
    const tokenizer = goldenTokenizer('gpt2');
    const text = 'a\ud800b\udc00';
    expect(tokenizer.encode(text, bare)).toEqual(tokenizer.encode('a\ufffdb\ufffd', bare));
    expect(tokenizer.encodeWithOffsets(text, bare).offsets.at(-1)).toBe(4);
  });

  test('decoding never cleans up spaces', () => {
    const tokenizer = goldenTokenizer('gpt2', { clean_up_tokenization_spaces: true });
    const text = "Hello , world ! it 's n't .";
    expect(tokenizer.decode(tokenizer.encode(text, bare))).toBe(text);
  });

  test('no ids are no text, unknown ids are left out, a plain array will do', () => {
    const tokenizer = goldenTokenizer('gpt2');
    expect(tokenizer.decode([])).toBe('');
    const ids = [...tokenizer.encode('lamp', bare)];
    expect(tokenizer.decode([999_999, ...ids, -1])).toBe('lamp');
  });

  test('what the post-processor adds has no extent', () => {
    const tokenizer = goldenTokenizer('wordpiece');
    const { ids, offsets } = tokenizer.encodeWithOffsets('the lamp', { addSpecialTokens: true });
    expect(ids.length).toBeGreaterThan(3);
    expect([...offsets.slice(0, 2)]).toEqual([0, 0]);
    expect([...offsets.slice(-2)]).toEqual([8, 8]);
  });

  test('a run of a hundred thousand letters takes no quadratic time', () => {
    const tokenizer = goldenTokenizer('llama2');
    const text = 'fish'.repeat(25_000);
    const ids = tokenizer.encode(text, bare);
    expect(tokenizer.decode(ids)).toBe(text);
  });
});

describe('what tokenizer_config.json says', () => {
  test('special tokens as strings and as objects, absent and null ones', () => {
    const tokenizer = goldenTokenizer('llama2', {
      bos_token: { __type: 'AddedToken', content: '<s>', lstrip: false },
      eos_token: '</s>',
      pad_token: null,
      unk_token: { content: '<unk>' },
    });
    expect([tokenizer.bosToken, tokenizer.eosToken]).toEqual(['<s>', '</s>']);
    expect([tokenizer.bosTokenId, tokenizer.eosTokenId, tokenizer.unkTokenId]).toEqual([1, 2, 0]);
    expect('padToken' in tokenizer).toBe(false);
    expect('padTokenId' in tokenizer).toBe(false);
  });

  test('a length of 1e30 is none', () => {
    expect('modelMaxLength' in goldenTokenizer('gpt2', { model_max_length: 1e30 })).toBe(false);
    expect(goldenTokenizer('gpt2', { model_max_length: 77 }).modelMaxLength).toBe(77);
    expect('modelMaxLength' in goldenTokenizer('gpt2')).toBe(false);
  });

  test('padding side as it stands there', () => {
    expect(goldenTokenizer('gpt2', { padding_side: 'left' }).paddingSide).toBe('left');
    expect('paddingSide' in goldenTokenizer('gpt2')).toBe(false);
  });

  test('special tokens that no list has become added tokens behind the others', () => {
    const plain = goldenTokenizer('gpt2');
    const tokenizer = goldenTokenizer('gpt2', {
      eos_token: '<|stop|>',
      additional_special_tokens: ['<|tool|>', { content: '<|im_end|>' }],
    });
    expect(tokenizer.eosTokenId).toBe(plain.vocabSize);
    expect(tokenizer.vocabSize).toBe(plain.vocabSize + 2);
    expect([...tokenizer.encode('<|stop|><|tool|>', bare)]).toEqual([plain.vocabSize, plain.vocabSize + 1]);
    expect(tokenizer.decode([plain.vocabSize], { skipSpecialTokens: true })).toBe('');
  });

  test('flags of added tokens in the configuration hold', () => {
    const id = goldenTokenizer('gpt2').tokenToId('<|im_end|>') ?? -1;
    const tokenizer = goldenTokenizer('gpt2', {
      added_tokens_decoder: { [id.toString()]: { content: '<|im_end|>', special: true, rstrip: true } },
    });
    expect([...tokenizer.encode('<|im_end|>  \n', bare)]).toEqual([id]);
  });

  test('a Llama tokenizer that asks for EOS gets it', () => {
    const config = { tokenizer_class: 'LlamaTokenizer', bos_token: '<s>', eos_token: '</s>', add_bos_token: false };
    const tokenizer = goldenTokenizer('llama2', { ...config, add_eos_token: true });
    const ids = tokenizer.encode('lamp', { addSpecialTokens: true });
    expect(ids.at(0)).not.toBe(1);
    expect(ids.at(-1)).toBe(2);
  });

  test('add_prefix_space overrides the ByteLevel pre-tokenizer', () => {
    const tokenizer = goldenTokenizer('gpt2', { add_prefix_space: true });
    expect(tokenizer.encode('lamp', bare)).toEqual(goldenTokenizer('gpt2').encode(' lamp', bare));
  });

  test('chat templates: one, several by name, a broken one', () => {
    const messages = [{ role: 'user', content: 'hi' }];
    const one = goldenTokenizer('gpt2', {
      chat_template: '{{ messages[0].content }}{{ eos_token }}',
      eos_token: '<|im_end|>',
    });
    expect(one.chatTemplate?.render({ messages })).toMatchObject({ right: { text: 'hi<|im_end|>' } });
    const several = goldenTokenizer('gpt2', {
      chat_template: [
        { name: 'default', template: 'plain' },
        { name: 'tool_use', template: 'tools' },
      ],
    });
    expect(several.chatTemplate?.render({ messages })).toMatchObject({ right: { text: 'plain' } });
    expect(several.chatTemplate?.render({ messages, tools: [{}] })).toMatchObject({ right: { text: 'tools' } });
    const nameless = goldenTokenizer('gpt2', { chat_template: [{ name: 'rag', template: 'x' }] });
    expect(nameless.chatTemplate?.render({ messages })).toMatchObject({ left: { code: 'E_TEMPLATE_NONE' } });
    const broken = goldenTokenizer('gpt2', { chat_template: '{% if %}' });
    expect(broken.chatTemplate?.render({ messages })).toMatchObject({ left: { code: 'E_TEMPLATE_SYNTAX' } });
    expect('chatTemplate' in goldenTokenizer('gpt2')).toBe(false);
  });
});

describe('directories', () => {
  const tokenizerJson = JSON.stringify(goldenTokenizerJson('gpt2'));

  test('files are kept as they were read', async () => {
    const files = {
      'tokenizer.json': tokenizerJson,
      'tokenizer_config.json': '{"eos_token": "<|im_end|>"}',
      'chat_template.jinja': '{{ messages|length }}',
    };
    const tokenizer = made(await loadTokenizer(await folderOf({ ...files, 'config.json': '{}' }))());
    expect(tokenizer.files).toEqual(files);
    expect(tokenizer.chatTemplate?.source).toBe('{{ messages|length }}');
  });

  test('a file that is no JSON is told with the place of its fault, a template too', () => {
    const broken = (name: string, text: string) => tokenizerOfFiles({ 'tokenizer.json': tokenizerJson, [name]: text });
    expect(broken('chat_template.json', '{\n"chat_template": x}')).toMatchObject({
      left: { code: 'E_TOKENIZER_INVALID', details: { file: 'chat_template.json', line: 2 } },
    });
    expect(broken('tokenizer_config.json', '{\n\n"a": 1,}')).toMatchObject({
      left: { code: 'E_TOKENIZER_INVALID', details: { file: 'tokenizer_config.json', line: 3 } },
    });
  });

  test('chat_template.jinja before chat_template.json before tokenizer_config.json', () => {
    const config = { 'tokenizer.json': tokenizerJson, 'tokenizer_config.json': '{"chat_template": "config"}' };
    const json = { ...config, 'chat_template.json': '{"chat_template": "json"}' };
    expect(made(tokenizerOfFiles(config)).chatTemplate?.source).toBe('config');
    expect(made(tokenizerOfFiles(json)).chatTemplate?.source).toBe('json');
    expect(made(tokenizerOfFiles({ ...json, 'chat_template.jinja': 'jinja' })).chatTemplate?.source).toBe('jinja');
  });

  test('vocab.json with merges.txt is the same tokenizer', () => {
    const model = goldenTokenizerJson('gpt2')['model'] as { vocab: unknown; merges: ReadonlyArray<[string, string]> };
    const files = {
      'vocab.json': JSON.stringify(model.vocab),
      'merges.txt': `#version: 0.2\n${model.merges.map((pair) => pair.join(' ')).join('\r\n')}\r\n`,
      'tokenizer_config.json': '{"tokenizer_class": "GPT2Tokenizer", "bos_token": "Ġ", "add_bos_token": true}',
    };
    const pair = made(tokenizerOfFiles(files));
    const whole = goldenTokenizer('gpt2');
    for (const text of goldenTokenizers.texts.filter((one) => !one.includes('<|'))) {
      expect(pair.encode(text, bare)).toEqual(whole.encode(text, bare));
    }
    const bos = pair.encode('lamp', { addSpecialTokens: true });
    expect([...bos]).toEqual([whole.tokenToId('Ġ'), ...whole.encode('lamp', bare)]);
    const added = { ...files, 'added_tokens.json': '{"<|x|>": 900}' };
    expect([...made(tokenizerOfFiles(added)).encode('<|x|>', bare)]).toEqual([900]);
  });

  test('Qwen2 pairs split digits one by one and normalise', () => {
    const model = goldenTokenizerJson('qwen2')['model'] as { vocab: unknown; merges: ReadonlyArray<[string, string]> };
    const pair = made(
      tokenizerOfFiles({
        'vocab.json': JSON.stringify(model.vocab),
        'merges.txt': model.merges.map((one) => one.join(' ')).join('\n'),
        'tokenizer_config.json': '{"tokenizer_class": "Qwen2Tokenizer"}',
      }),
    );
    const whole = goldenTokenizer('qwen2');
    for (const text of goldenTokenizers.texts.filter((one) => !one.includes('<|'))) {
      expect(pair.encode(text, bare)).toEqual(whole.encode(text, bare));
    }
  });

  const missing: ReadonlyArray<readonly [string, Readonly<Record<string, string>>]> = [
    ['nothing', {}],
    ['vocab.json alone', { 'vocab.json': '{}' }],
    ['merges.txt alone', { 'merges.txt': '' }],
    ['configuration alone', { 'tokenizer_config.json': '{}' }],
  ];
  for (const [what, files] of missing) {
    test(`${what}: E_TOKENIZER_MISSING`, async () => {
      const error = refusal(await loadTokenizer(await folderOf(files))());
      expect(error.code).toBe('E_TOKENIZER_MISSING');
      expect(error.details.hint).toContain('tokenizer.model');
    });
  }

  test('no such directory: E_TOKENIZER_MISSING with its name', async () => {
    const error = refusal(await loadTokenizer('/nowhere/at/all')());
    expect([error.code, error.details.file]).toEqual(['E_TOKENIZER_MISSING', '/nowhere/at/all']);
  });

  const broken: ReadonlyArray<readonly [string, Readonly<Record<string, string>>, string]> = [
    ['cut off', { 'tokenizer.json': tokenizerJson.slice(0, 1000) }, 'tokenizer.json'],
    ['a list', { 'tokenizer.json': '[]' }, 'tokenizer.json'],
    ['no model', { 'tokenizer.json': '{}' }, 'tokenizer.json'],
    [
      'configuration cut off',
      { 'tokenizer.json': tokenizerJson, 'tokenizer_config.json': '{' },
      'tokenizer_config.json',
    ],
    [
      'configuration a list',
      { 'tokenizer.json': tokenizerJson, 'tokenizer_config.json': '[]' },
      'tokenizer_config.json',
    ],
    ['merges of three parts', { 'vocab.json': '{}', 'merges.txt': 'a b c' }, 'merges.txt'],
    ['vocabulary a list', { 'vocab.json': '[]', 'merges.txt': '' }, 'vocab.json'],
  ];
  for (const [what, files, file] of broken) {
    test(`${what}: E_TOKENIZER_INVALID names ${file}`, async () => {
      const folder = await folderOf(files);
      const error = refusal(await loadTokenizer(folder)());
      expect(error.code).toBe('E_TOKENIZER_INVALID');
      expect(error.details.file).toBe(join(folder, file));
    });
  }
});

describe('refusals', () => {
  const base = goldenTokenizerJson('gpt2');
  const model = base['model'] as Record<string, unknown>;
  const split = (behavior: string): unknown => ({ type: 'Split', pattern: { String: ' ' }, behavior, invert: false });
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };

  for (const part of [split('MergedWithNext'), split('Contiguous'), { type: 'UnicodeScripts' }]) {
    test(`${JSON.stringify(part)} would be silently wrong`, () => {
      const alone = refusal(makeTokenizer({ ...base, pre_tokenizer: part }));
      const nested = refusal(
        makeTokenizer({ ...base, pre_tokenizer: { type: 'Sequence', pretokenizers: [part, bytes] } }),
      );
      expect([alone.code, nested.code]).toEqual(['E_TOKENIZER_UNSUPPORTED', 'E_TOKENIZER_UNSUPPORTED']);
      expect(alone.details.field).toBe('pre_tokenizer');
    });
  }

  const parts: ReadonlyArray<readonly [string, Record<string, unknown>, string]> = [
    ['dropout', { model: { ...model, dropout: 0.1 } }, 'E_TOKENIZER_UNSUPPORTED'],
    ['unknown model', { model: { ...model, type: 'Magic' } }, 'E_TOKENIZER_UNSUPPORTED'],
    ['unknown normalizer', { normalizer: { type: 'Magic' } }, 'E_TOKENIZER_UNSUPPORTED'],
    ['unknown post-processor', { post_processor: { type: 'Magic' } }, 'E_TOKENIZER_UNSUPPORTED'],
    ['unknown decoder', { decoder: { type: 'Magic' } }, 'E_TOKENIZER_UNSUPPORTED'],
    ['vocabulary with a text as id', { model: { ...model, vocab: { a: 'b' } } }, 'E_TOKENIZER_INVALID'],
    ['vocabulary with a negative id', { model: { ...model, vocab: { a: -1 } } }, 'E_TOKENIZER_INVALID'],
    ['merges that are no list', { model: { ...model, merges: 'a b' } }, 'E_TOKENIZER_INVALID'],
    ['a merge of unknown tokens', { model: { ...model, merges: [['zzz', 'yyy']] } }, 'E_TOKENIZER_INVALID'],
    ['an added token without id', { added_tokens: [{ content: 'x' }] }, 'E_TOKENIZER_INVALID'],
    ['added tokens that are no list', { added_tokens: {} }, 'E_TOKENIZER_INVALID'],
  ];
  for (const [what, change, code] of parts) {
    test(`${what}: ${code}`, () => {
      expect(refusal(makeTokenizer({ ...base, ...change })).code).toBe(code);
    });
  }
});

describe('expressions that backtrack for ever', () => {
  const base = goldenTokenizerJson('gpt2');
  const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: true, use_regex: false };
  const split = (Regex: string): unknown => ({
    type: 'Sequence',
    pretokenizers: [{ type: 'Split', pattern: { Regex }, behavior: 'Isolated', invert: false }, bytes],
  });
  const hostile = `${'a'.repeat(20_000)}!`;

  test.each(['(a+)+$', '(a|a)*b', '(\\w+\\s?)+\\z', 'a*a*a*b', '(?i:(?:x?a+)+)\\b!!'])(
    '%s is matched all the same',
    (regex) => {
      const tokenizer = made(makeTokenizer({ ...base, pre_tokenizer: split(regex) }));
      expect(tokenizer.path).toBe('own');
      const ids = tokenizer.encode(hostile, { addSpecialTokens: false });
      expect(tokenizer.decode(ids)).toBe(hostile);
    },
  );

  test.each([
    ['normalizer', { normalizer: { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: 'b' } }],
    [
      'decoder',
      {
        decoder: {
          type: 'Sequence',
          decoders: [{ type: 'ByteLevel' }, { type: 'Replace', pattern: { Regex: '(a+)+$' }, content: 'b' }],
        },
      },
    ],
  ])('so it is in a %s', (_, part) => {
    const tokenizer = made(makeTokenizer({ ...base, ...part }));
    const ids = tokenizer.encode(hostile, { addSpecialTokens: false });
    expect(tokenizer.decode(ids)).toBe(hostile);
    const short = tokenizer.encode('caaa', { addSpecialTokens: false });
    expect(tokenizer.decode(short)).toBe('cb');
  });

  test('blanks beside a word or a token are stripped in one pass', () => {
    const json = {
      ...base,
      normalizer: { type: 'Strip', strip_left: true, strip_right: true },
      added_tokens: [
        { id: 300, content: '#', single_word: true, lstrip: true, rstrip: true, normalized: false, special: true },
      ],
    };
    const blanks = ' '.repeat(50_000);
    const tokenizer = made(makeTokenizer(json));
    const ids = tokenizer.encode(`${blanks}a${blanks}b ${'#'.repeat(20_000)}${blanks}#`, { addSpecialTokens: false });
    expect(tokenizer.decode(ids.filter((id) => id !== 300))).toBe(`a${blanks}b`);
    expect(ids.filter((id) => id === 300)).toHaveLength(20_001);
  });

  test.each([
    ['(a)\\1', 'refers back'],
    ['(?:a*)*b', 'may be empty'],
    ['x'.repeat(20_000), 'more than 10000 characters'],
  ])('what our matcher cannot run is refused with its place (%#)', (regex, why) => {
    const error = refusal(makeTokenizer({ ...base, pre_tokenizer: split(regex) }));
    expect(error.code).toBe('E_TOKENIZER_UNSUPPORTED');
    expect(error.details).toMatchObject({
      file: 'tokenizer.json',
      field: 'pre_tokenizer.pretokenizers[0].pattern.Regex',
      hint: expect.stringContaining(why) as unknown,
    });
    expect(error.details.actual?.length).toBeLessThan(300);
  });

  test('they are found however deep a file is nested', async () => {
    const depth = 5000;
    const nested = `${'['.repeat(depth)}{"Regex":"(a)\\\\1"}${']'.repeat(depth)}`;
    const text = JSON.stringify({ ...base, normalizer: { type: 'NFC', more: '@' } }).replace('"@"', () => nested);
    const error = refusal(await loadTokenizer(await folderOf({ 'tokenizer.json': text }))());
    expect(error.code).toBe('E_TOKENIZER_UNSUPPORTED');
  });

  test('nor is one handed to the reference', () => {
    const json = (Regex: string): Record<string, unknown> => ({
      ...goldenTokenizerJson('wordpiece'),
      normalizer: {
        type: 'Sequence',
        normalizers: [{ type: 'BertNormalizer' }, { type: 'Replace', pattern: { Regex }, content: '' }],
      },
    });
    const error = refusal(makeTokenizer(json('(a+)+$')));
    expect([error.code, error.details.field]).toEqual([
      'E_TOKENIZER_UNSUPPORTED',
      'normalizer.normalizers[1].pattern.Regex',
    ]);
    expect(made(makeTokenizer(json(' {2,}'))).path).toBe('reference');
  });
});

describe('the reference path', () => {
  test('a normalizer that ours does not cover is run by @huggingface/tokenizers, offsets included', () => {
    const json = {
      ...goldenTokenizerJson('wordpiece'),
      normalizer: { type: 'BertNormalizer', clean_text: true, handle_chinese_chars: true, lowercase: true },
    };
    const tokenizer = made(makeTokenizer(json));
    expect(tokenizer.path).toBe('reference');
    const text = 'The Lamp burned';
    const { ids, offsets } = tokenizer.encodeWithOffsets(text, { addSpecialTokens: true });
    expect(tokenizer.decode(ids, { skipSpecialTokens: true })).toBe('the lamp burned');
    expect(offsets.at(-3)).toBe(text.length);
    const words = Array.from(ids, (_, i) => text.slice(offsets[2 * i], offsets[2 * i + 1]));
    expect(words.join('')).toBe('TheLampburned');
  });
});

interface LlamaCase {
  readonly text: string;
  readonly ids: ReadonlyArray<number>;
  readonly rebuilt: ReadonlyArray<number>;
  readonly rebuiltLegacy: ReadonlyArray<number>;
}

/** Fixture: reference/llama_tokenizer.py. */
describe('a tokenizer of the Llama family, with a normalizer that puts a space before every part', () => {
  const { tokenizer: file, cases } = JSON.parse(
    readFileSync(new URL('../golden/llama_tokenizer.json', import.meta.url), 'utf8'),
  ) as { readonly tokenizer: Readonly<Record<string, unknown>>; readonly cases: ReadonlyArray<LlamaCase> };
  // What AutoTokenizer of transformers 5 would do with these would give other ids: the file is what counts.
  const config = { tokenizer_class: 'LlamaTokenizer', legacy: false, bos_token: '<s>', eos_token: '</s>' };
  const tokenizer = made(makeTokenizer(file, config));

  test.each(cases)('has the ids of its file for $text', ({ text, ids }) => {
    const found = tokenizer.encode(text, { addSpecialTokens: false });
    expect([...found]).toEqual(ids);
  });

  test('differs from what transformers 5 rebuilds after special tokens and before leading spaces, and only there', () => {
    const differs = (which: 'rebuilt' | 'rebuiltLegacy'): ReadonlyArray<string> =>
      cases.flatMap((one) => (one[which].join() === one.ids.join() ? [] : [one.text]));
    expect(differs('rebuilt')).toEqual(cases.map(({ text }) => text).filter((text) => /^ |<\/?s>[^<]/.test(text)));
    expect(differs('rebuiltLegacy')).toEqual(cases.map(({ text }) => text).filter((text) => /^ |<\/?s> /.test(text)));
  });
});
