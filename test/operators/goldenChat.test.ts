/** Conversations as transformers tokenises them: ids and assistant masks of `golden/chat_templates`, through `format` and `tokenize`. */
import { describe, expect, it } from '@jest/globals';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { formatRow } from '../../src/operators/format.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import type { Message } from '../../src/records.js';
import { sharedPath } from '../shared.js';
import { sharedText, sharedTokenizer } from '../sharedTokenizer.js';

interface Conversation {
  readonly messages: ReadonlyArray<Message>;
  readonly add_generation_prompt: boolean;
}
interface Item {
  readonly tokenizer: string;
  readonly template: string;
  readonly results: Readonly<
    Record<string, { readonly input_ids: ReadonlyArray<number>; readonly assistant_masks?: ReadonlyArray<number> }>
  >;
}
interface Tokens {
  readonly conversations: Readonly<Record<string, Conversation>>;
  readonly items: ReadonlyArray<Item>;
}
interface Matrix {
  readonly templates: ReadonlyArray<{
    readonly template: string;
    readonly chat_template: string;
    readonly bos_token?: string;
    readonly eos_token?: string;
  }>;
}

const present = sharedPath('data', 'golden', 'chat_templates') !== undefined;
const golden = <A>(name: string, none: A): A =>
  JSON.parse(sharedText('data', 'golden', 'chat_templates', name) ?? JSON.stringify(none)) as A;
const { conversations, items } = golden<Tokens>('token_ids.json', { conversations: {}, items: [] });
const { templates } = golden<Matrix>('matrix.json', { templates: [] });
if (!present)
  process.stdout.write('skipped: conversations as transformers tokenises them (no shared test data here)\n');

const tokenizers = new Map<string, Tokenizer>();
const tokenizerNamed = (name: string): Tokenizer => {
  const known = tokenizers.get(name) ?? sharedTokenizer(name);
  tokenizers.set(name, known);
  return known;
};

(present ? describe : describe.skip)('conversations', () => {
  it.each(items.map((item) => [item.tokenizer, item.template, item] as const))('%s with %s', (_, name, item) => {
    const tokenizer = tokenizerNamed(item.tokenizer);
    const known = templates.find(({ template }) => template === name);
    const made =
      known === undefined
        ? undefined
        : makeChatTemplate(known.chat_template, {
            specialTokens: {
              bos_token: tokenizer.bosToken ?? known.bos_token,
              eos_token: tokenizer.eosToken ?? known.eos_token,
            },
          });
    if (made?._tag !== 'Right') throw new Error(`no template ${name}`);
    const tokenizeOne = tokenizeRow({ tokenizer });
    for (const [title, expected] of Object.entries(item.results)) {
      const { messages, add_generation_prompt: addGenerationPrompt } = conversations[title] ?? {
        messages: [],
        add_generation_prompt: false,
      };
      const formatted = formatRow({ tokenizer, template: made.right, addGenerationPrompt })({
        kind: 'messages',
        messages,
      });
      if (formatted._tag === 'Left') throw new Error(formatted.left.message);
      const tokenized = tokenizeOne(formatted.right);
      if (tokenized._tag === 'Left') throw new Error(tokenized.left.message);
      expect([title, ...tokenized.right.inputIds]).toEqual([title, ...expected.input_ids]);
      if (expected.assistant_masks !== undefined) {
        expect([title, ...(tokenized.right.assistantMask ?? [])]).toEqual([title, ...expected.assistant_masks]);
      }
    }
  });

  it('are all there', () => {
    expect(items.length).toBe(8);
  });
});
