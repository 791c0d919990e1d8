/** What is asked at inference begins what is trained, for every template that keeps its past turns. */
import { describe, expect, test } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { WarningCode } from '../../src/errors.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import type { ChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { conversations, promptIsPrefix, promptTokensArePrefix, wordTokenizer } from '../../src/laws/index.js';
import type { PrepareExample } from '../../src/laws/index.js';
import { formatRow } from '../../src/operators/format.js';
import { maskCompletionsRow } from '../../src/operators/maskCompletions.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import type { Message } from '../../src/records.js';
import { promptTokens } from '../../src/train/generating/promptTokens.js';
import { sharedPath } from '../../test/shared.js';
import { sharedText } from '../../test/sharedTokenizer.js';

const specialTokens = { bos_token: '<s>', eos_token: '</s>' };

const own: Readonly<Record<string, string>> = {
  chatMl: chatMl.template,
  llama2:
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
  llama3:
    "{{ bos_token }}{% for m in messages %}{{ '<|start|>' + m.role + '\n\n' + m.content|trim + '<|end|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start|>assistant\n\n' }}{% endif %}",
};

interface Matrix {
  readonly templates: ReadonlyArray<{ readonly template: string; readonly chat_template: string }>;
}
const shared: Readonly<Record<string, string>> =
  sharedPath('data', 'golden', 'chat_templates') === undefined
    ? {}
    : Object.fromEntries(
        (
          JSON.parse(sharedText('data', 'golden', 'chat_templates', 'matrix.json') ?? '{"templates":[]}') as Matrix
        ).templates.map(({ template, chat_template: source }) => [template, source]),
      );

/**
 * Templates that break it: those of reasoning models open a thought that past turns lack, Mistral Nemo's moves the system prompt
 * to the last question, Functionary's parts with an answer that begins with white space.
 */
const breaking: ReadonlySet<string> = new Set([
  'llama.cpp/deepseek-ai-DeepSeek-R1-Distill-Llama-8B.jinja',
  'llama.cpp/deepseek-ai-DeepSeek-R1-Distill-Qwen-32B.jinja',
  'llama.cpp/llama-cpp-deepseek-r1.jinja',
  'llama.cpp/meetkai-functionary-medium-v3.2.jinja',
  'llama.cpp/mistralai-Mistral-Nemo-Instruct-2407.jinja',
  'trl/deepseekv3.jinja',
  'trl/deepseekv3_training.jinja',
  'trl/nemotron_3_nano.jinja',
  'trl/nemotron_3_nano_training.jinja',
  'trl/nemotron_3_super.jinja',
  'trl/nemotron_3_super_training.jinja',
  'trl/nemotron_3_ultra.jinja',
  'trl/nemotron_3_ultra_training.jinja',
  'trl/qwen3_5_nothink.jinja',
  'trl/qwen3_5_think.jinja',
  'trl/qwen3_6.jinja',
]);

const templateOf = (source: string): ChatTemplate => {
  const made = makeChatTemplate(source, { specialTokens });
  if (E.isLeft(made)) throw new Error(made.left.message);
  return made.right;
};

describe('a prompt is how its training row begins', () => {
  const all = Object.entries({ ...own, ...shared });

  test.each(all.filter(([name]) => !breaking.has(name)))('with %s', async (name, source) => {
    await promptIsPrefix(templateOf(source), { numRuns: name in own ? 100 : 15 }).check();
  });

  for (const [name, source] of all.filter(([known]) => breaking.has(known))) {
    test(`not with ${name}, which the law sees`, async () => {
      await expect(promptIsPrefix(templateOf(source), { numRuns: 3000 }).check()).rejects.toThrow('asked otherwise');
    });
  }

  test.each(Object.entries(own))('in tokens, with %s', async (_, source) => {
    const tokenizer = { ...wordTokenizer({ addBos: true, pieceLength: 3 }), chatTemplate: templateOf(source) };
    const prepare: PrepareExample = (example) =>
      pipe(formatRow({ tokenizer })(example), E.flatMap(tokenizeRow({ tokenizer })), E.flatMap(maskCompletionsRow()));
    await promptTokensArePrefix(tokenizer, prepare, { conversation: conversations({ maxTurns: 4 }) }).check();
  });
});

test('a template that asks for a turn otherwise than it trains it is told, turn by turn', () => {
  const talk: ReadonlyArray<Message> = ['One?', 'Two.', 'Three?', 'Four.', 'Five?'].map((content, i) => ({
    role: i % 2 === 0 ? 'user' : 'assistant',
    content,
  }));
  const told = (source: string): ReadonlyArray<readonly [WarningCode, string | undefined]> => {
    const warnings: Array<readonly [WarningCode, string | undefined]> = [];
    const tokenizer = { ...wordTokenizer(), chatTemplate: templateOf(source) };
    const ask = promptTokens({ tokenizer, warn: ({ code, field }) => warnings.push([code, field]) });
    expect(E.isRight(ask({ kind: 'messages', messages: talk }))).toBe(true);
    return warnings;
  };
  const forgetful =
    '{% for m in messages %}<{{ m.role }}>{{ m.content if loop.revindex < 3 else "" }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';
  expect(told(chatMl.template)).toEqual([]);
  expect(told(forgetful)).toEqual([
    ['W_PROMPT_NOT_PREFIX', 'messages.1'],
    ['W_PROMPT_NOT_PREFIX', 'messages.3'],
    ['W_PROMPT_NOT_PREFIX', 'messages.5'],
  ]);
});
