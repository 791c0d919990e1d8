/** Our interpreter of chat templates against @huggingface/jinja, an independent one: where that renders, both write the same. */
import { Template } from '@huggingface/jinja';
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';
import { conversations } from '../../src/laws/conversations.js';
import type { Message } from '../../src/records.js';
import { sharedPath } from '../../test/shared.js';
import { sharedText } from '../../test/sharedTokenizer.js';

const specialTokens = { bos_token: '<s>', eos_token: '</s>', pad_token: '<pad>' };

const own: Readonly<Record<string, string>> = {
  chatMl: chatMl.template,
  llama2:
    "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}",
  llama3:
    "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content|trim + '<|eot_id|>' }}{% endfor %}",
  tools:
    "{%- for m in messages %}{{- '<' + m.role + '>' }}{%- if m.tool_calls is defined %}{%- for call in m.tool_calls %}{{- call.function.name }}({{- call.function.arguments|tojson }}){%- endfor %}{%- else %}{{- m.content }}{%- endif %}{{- '\n' if not loop.last }}{%- endfor %}",
  loops:
    "{% set ns = namespace(n=0) %}{% for m in messages %}{% if loop.first or m.role != loop.previtem.role %}{% set ns.n = ns.n + 1 %}{% endif %}{{ loop.index }}/{{ loop.length }}:{{ messages|length }}:{{ m.content.split(' ')|length }}{% if not loop.last %};{% endif %}{% endfor %}{{ ns.n }}",
  texts:
    "{% for m in messages %}{{ m.content|upper }}|{{ m.content.strip() }}|{{ m.content.replace('a', 'b') }}|{{ m['content'][:3] }}|{{ 'y' if m.content.startswith('yes') else 'n' }}{% endfor %}",
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

/** What it makes of a template; undefined where it refuses. */
const theirs = (source: string, messages: ReadonlyArray<Message>, addGenerationPrompt: boolean): string | undefined => {
  try {
    return new Template(source).render({
      messages: structuredClone(messages),
      add_generation_prompt: addGenerationPrompt,
      tools: null,
      documents: null,
      ...specialTokens,
    });
  } catch {
    return undefined;
  }
};

/**
 * Its known faults, each checked against Jinja2, and the templates that meet them. Besides these it counts a text's length in
 * UTF-16 units and prints booleans in lower case.
 */
const faults: Readonly<Record<string, ReadonlyArray<string>>> = {
  'strip, lstrip and rstrip take all white space, whatever characters they are given': [
    'trl/qwen3.jinja',
    'trl/qwen3_training.jinja',
    'trl/glm4moe_training.jinja',
    'onnxruntime-extensions/v5-smollm3-chat_template.jinja',
  ],
};
const listed = new Set(Object.values(faults).flat());
/** Also, an empty text equals false to it: comparisons with false are among the cases that Jinja2 itself has rendered. */
const faulty = (name: string, source: string): boolean => listed.has(name) || /[!=]= *false/i.test(source);

/** One conversation that every template takes which takes any. */
const plain: ReadonlyArray<Message> = [
  { role: 'user', content: 'a' },
  { role: 'assistant', content: 'b' },
];

describe('our rendering is that of @huggingface/jinja', () => {
  const all = Object.entries({ ...own, ...shared });
  const rendered = all.filter(([name, source]) => !faulty(name, source) && theirs(source, plain, false) !== undefined);

  test('which renders most of the templates', () => {
    expect(rendered.length).toBeGreaterThan(0.8 * all.length);
  });

  test.each(rendered)('%s', (name, source) => {
    const made = makeChatTemplate(source, { specialTokens });
    if (made._tag === 'Left') throw new Error(made.left.message);
    fc.assert(
      fc.property(conversations({ tools: name === 'tools' }), fc.boolean(), (messages, addGenerationPrompt) => {
        const expected = theirs(source, messages, addGenerationPrompt);
        fc.pre(expected !== undefined);
        expect(made.right.render({ messages, addGenerationPrompt })).toMatchObject({ right: { text: expected } });
      }),
      { numRuns: name in own ? 100 : 12 },
    );
  });
});
