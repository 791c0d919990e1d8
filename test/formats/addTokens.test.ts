import { describe, expect, test } from '@jest/globals';
import { isLeft, type Either } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../src/errors.js';
import { withAddedTokens, withChatFormat } from '../../src/formats/tokenizing/addTokens.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { type Tokenizer, tokenizerOfFiles } from '../../src/formats/tokenizing/tokenizer.js';
import { goldenTokenizer, goldenTokenizerJson } from './golden.js';

const made = (result: Either<FatalError, Tokenizer>): Tokenizer => {
  if (isLeft(result)) throw result.left;
  return result.right;
};
const bare = { addSpecialTokens: false };

describe('withAddedTokens', () => {
  test('new tokens are one id each behind the others, and in the files', () => {
    const before = goldenTokenizer('gpt2');
    const after = made(withAddedTokens(before, { tokens: ['<|tool|>', '<|im_end|>', '<|think|>'] }));
    expect(after.vocabSize).toBe(before.vocabSize + 2);
    expect([...after.encode('<|tool|><|im_end|><|think|>', bare)]).toEqual([
      before.vocabSize,
      before.tokenToId('<|im_end|>'),
      before.vocabSize + 1,
    ]);
    expect(after.decode([before.vocabSize], { skipSpecialTokens: true })).toBe('');
    const again = made(tokenizerOfFiles(after.files));
    expect(again.encode('a<|tool|>b', bare)).toEqual(after.encode('a<|tool|>b', bare));
    expect(before.encode('lamp', bare)).toEqual(after.encode('lamp', bare));
    expect(made(withAddedTokens(after, { tokens: ['<|tool|>'] })).vocabSize).toBe(after.vocabSize);
  });

  test('a pair of vocab.json and merges.txt gets a tokenizer.json', () => {
    const model = goldenTokenizerJson('gpt2')['model'] as { vocab: unknown; merges: ReadonlyArray<[string, string]> };
    const files = {
      'vocab.json': JSON.stringify(model.vocab),
      'merges.txt': model.merges.map((pair) => pair.join(' ')).join('\n'),
    };
    const after = made(withAddedTokens(made(tokenizerOfFiles(files)), { tokens: ['<|x|>'], padToken: '<|pad|>' }));
    expect(Object.keys(after.files)).toContain('tokenizer.json');
    expect(after.padToken).toBe('<|pad|>');
    expect(after.encode('<|x|>', bare).length).toBe(1);
    // What the tokenizers library wants of every post-processor of this type.
    const { post_processor: written } = JSON.parse(after.files['tokenizer.json'] ?? '') as Record<string, unknown>;
    expect(written).toMatchObject({ type: 'ByteLevel', add_prefix_space: false, trim_offsets: false });
  });

  test('an empty token is refused', () => {
    expect(withAddedTokens(goldenTokenizer('gpt2'), { tokens: [''] })).toMatchObject({
      left: { code: 'E_TOKENIZER_INVALID', kind: 'usage' },
    });
  });
});

describe('withChatFormat', () => {
  const messages = [
    { role: 'system', content: 'S' },
    { role: 'user', content: 'U' },
  ];

  test('ChatML as TRL renders it', () => {
    const tokenizer = made(withChatFormat(goldenTokenizer('llama2', { eos_token: '</s>', pad_token: '</s>' })));
    expect(tokenizer.chatTemplate?.source).toBe(chatMl.template);
    expect(tokenizer.chatTemplate?.render({ messages, addGenerationPrompt: true })).toMatchObject({
      right: { text: '<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nU<|im_end|>\n<|im_start|>assistant\n' },
    });
    expect(tokenizer.chatTemplate?.render({ messages: [] })).toMatchObject({ right: { text: '' } });
    const nothing: unknown = null;
    const silent = [{ role: 'user', content: nothing as string }];
    expect(tokenizer.chatTemplate?.render({ messages: silent })).toMatchObject({ left: { code: 'E_TEMPLATE_RENDER' } });
    expect([tokenizer.bosToken, tokenizer.eosToken, tokenizer.padToken]).toEqual([
      '<|im_start|>',
      '<|im_end|>',
      '</s>',
    ]);
  });

  test('two new ids, none when they are there', () => {
    const plain = goldenTokenizerJson('llama2');
    const without = { ...plain, added_tokens: (plain['added_tokens'] as ReadonlyArray<unknown>).slice(0, 3) };
    const before = made(tokenizerOfFiles({ 'tokenizer.json': JSON.stringify(without) }));
    const after = made(withChatFormat(before));
    expect(after.vocabSize).toBe(before.vocabSize + 2);
    expect(made(withChatFormat(after)).vocabSize).toBe(after.vocabSize);
  });

  test('parity: padding is the end of turn', () => {
    const tokenizer = made(withChatFormat(goldenTokenizer('llama2', { pad_token: '</s>' }), { parity: true }));
    expect(tokenizer.padToken).toBe('<|im_end|>');
  });

  test('another format is refused', () => {
    expect(withChatFormat(goldenTokenizer('gpt2'), { format: 'alpaca' })).toMatchObject({
      left: { code: 'E_UNKNOWN_CHAT_FORMAT' },
    });
  });
});
