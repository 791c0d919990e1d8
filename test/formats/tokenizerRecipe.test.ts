/** A tokenizer made again in another thread: of the tables of the first where it has such, else of its files. */
import { describe, expect, test } from '@jest/globals';
import { templatedTokenizer, tokenizerOfRecipe } from '../../src/formats/tokenizing/templatedTokenizer.js';
import { makeTokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { recipeOf } from '../../src/formats/tokenizing/tokenizerRecipe.js';
import type { TokenizerRecipe } from '../../src/formats/tokenizing/tokenizerRecipe.js';
import { goldenTokenizer, goldenTokenizerJson, goldenTokenizers } from './golden.js';

const recipeFor = (tokenizer: Tokenizer): TokenizerRecipe => {
  const recipe = recipeOf(tokenizer);
  if (recipe === undefined) throw new Error('it has no recipe');
  return recipe;
};

/** What crosses threads is cloned. */
const again = (tokenizer: Tokenizer): Tokenizer => {
  const made = tokenizerOfRecipe(structuredClone(recipeFor(tokenizer)));
  if (made._tag === 'Left') throw made.left;
  return made.right;
};

const config = { eos_token: '</s>', chat_template: '{{ eos_token }}{{ messages|length }}' };
const conversation = { messages: [{ role: 'user', content: 'x' }] };

describe.each(Object.keys(goldenTokenizers.tokenizers))('%s', (name) => {
  const tokenizer = goldenTokenizer(name, config);
  const other = again(tokenizer);

  test('gives every text the same ids, offsets and way back', () => {
    for (const text of [...goldenTokenizers.texts, '', '\ud800 lone']) {
      for (const addSpecialTokens of [true, false]) {
        const found = other.encodeWithOffsets(text, { addSpecialTokens });
        expect(found).toEqual(tokenizer.encodeWithOffsets(text, { addSpecialTokens }));
        expect(other.encode(text, { addSpecialTokens })).toEqual(found.ids);
        expect(other.decode(found.ids)).toBe(tokenizer.decode(found.ids));
      }
    }
  });

  test('has the same tokens and template', () => {
    expect(other.vocabSize).toBe(tokenizer.vocabSize);
    expect(other.eosTokenId).toBe(tokenizer.eosTokenId);
    for (let id = -1; id <= tokenizer.vocabSize; id++) {
      const token = tokenizer.idToToken(id);
      expect(other.idToToken(id)).toBe(token);
      if (token !== undefined) expect(other.tokenToId(token)).toBe(tokenizer.tokenToId(token));
    }
    expect(other.chatTemplate?.render(conversation)).toEqual(tokenizer.chatTemplate?.render(conversation));
    const templated = templatedTokenizer(tokenizer, 'other {{ eos_token }}');
    if (templated._tag === 'Left') throw templated.left;
    expect(again(templated.right).chatTemplate?.render(conversation)).toMatchObject({
      right: { text: 'other </s>' },
    });
  });

  test('crosses without its vocabulary and merges, in memory of both, where it has tables', () => {
    const { model } = goldenTokenizerJson(name) as { readonly model: { readonly type?: string } };
    const { made, files } = recipeFor(tokenizer);
    if (tokenizer.path === 'reference' || model.type !== 'BPE') {
      expect(made).toBeUndefined();
      expect(Object.keys(files)).toContain('tokenizer.json');
      return;
    }
    expect(Object.keys(files)).toEqual([]);
    expect(made?.spec.model).not.toHaveProperty('vocab');
    expect(made?.spec.model).not.toHaveProperty('merges');
    expect(made?.tables.merges.slots.buffer).toBeInstanceOf(SharedArrayBuffer);
    for (const table of Object.values(made?.tables.vocabulary ?? {}) as ReadonlyArray<Int32Array>) {
      expect(table.buffer).toBeInstanceOf(SharedArrayBuffer);
    }
  });
});

test('a tokenizer with a clock of its own stays in its thread', () => {
  const made = makeTokenizer(goldenTokenizerJson('gpt2'), config, { clock: () => new Date(0) });
  expect(made._tag === 'Right' && recipeOf(made.right)).toBeUndefined();
});
