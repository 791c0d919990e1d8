/** Chat templates as Jinja2 renders them: every case of `golden/chat_templates` of the shared test data. */
import { describe, expect, test } from '@jest/globals';
import { makeChatTemplate, namedTemplates } from '../../src/formats/templates/chatTemplate.js';
import type {
  ChatTemplate,
  ChatTemplateOptions,
  Conversation,
  Rendered,
} from '../../src/formats/templates/chatTemplate.js';
import type { Message, Span } from '../../src/records.js';
import { sharedPath } from '../shared.js';
import { sharedText } from '../sharedTokenizer.js';

const present = sharedPath('data', 'golden', 'chat_templates') !== undefined;
const whenThere = present ? describe : describe.skip;
if (!present) process.stdout.write('skipped: goldens of chat templates (no shared test data here)\n');

const text = (name: string, none: string): string => sharedText('data', 'golden', 'chat_templates', name) ?? none;
const lines = (name: string): ReadonlyArray<unknown> =>
  text(name, '')
    .split('\n')
    .filter((line) => line.trim() !== '')
    .map((line): unknown => JSON.parse(line));

type Outcome = { readonly text: string; readonly rendered: Rendered } | { readonly refused: string };

const outcome = (source: string, options: ChatTemplateOptions, conversation: Conversation): Outcome => {
  const made = makeChatTemplate(source, options);
  if (made._tag === 'Left') return { refused: `${made.left.code}: ${made.left.message}` };
  const rendered = made.right.render(conversation);
  return rendered._tag === 'Left'
    ? { refused: `${rendered.left.code}: ${rendered.left.message}` }
    : { text: rendered.right.text, rendered: rendered.right };
};

/** Rendering input as the goldens write it: what is no message, tool or switch is a variable of the template. */
const conversationOf = (data: Readonly<Record<string, unknown>>): Conversation => {
  const { messages, tools, add_generation_prompt: addGenerationPrompt, ...kwargs } = data;
  return {
    messages: (messages ?? []) as ReadonlyArray<Message>,
    ...(Array.isArray(tools) ? { tools } : {}),
    ...(addGenerationPrompt === true ? { addGenerationPrompt } : {}),
    kwargs,
  };
};

interface Golden {
  readonly rendered?: string;
  readonly error?: string;
  readonly message?: string;
  /** Code points. */
  readonly assistant_char_spans?: ReadonlyArray<readonly [number, number]>;
  readonly uses_current_date?: boolean;
}
interface Matrix {
  readonly conversations: Readonly<Record<string, Readonly<Record<string, unknown>>>>;
  readonly templates: ReadonlyArray<{
    readonly template: string;
    readonly chat_template: string;
    readonly bos_token?: string;
    readonly eos_token?: string;
    readonly date_string?: string;
    readonly results: Readonly<Record<string, Golden>>;
  }>;
}

/** Code point positions → UTF-16 positions; what two generation blocks in a row hold is one span. */
const unitsOf = (rendered: string, spans: ReadonlyArray<readonly [number, number]>): ReadonlyArray<Span> => {
  const starts = [0];
  for (const character of rendered) starts.push((starts.at(-1) ?? 0) + character.length);
  const merged: Array<{ start: number; end: number }> = [];
  for (const [from, to] of spans) {
    const [start, end] = [starts[from] ?? -1, starts[to] ?? -1];
    const last = merged.at(-1);
    if (last?.end === start) last.end = end;
    else if (end > start) merged.push({ start, end });
  }
  return merged;
};

whenThere('the matrix of templates and conversations', () => {
  const { conversations, templates } = JSON.parse(text('matrix.json', '{"conversations":{},"templates":[]}')) as Matrix;
  // The day on which the goldens were made.
  const clock = (): Date => new Date(2026, 10, 24, 12);

  test('has its cases', () => {
    expect(templates.length).toBe(73);
    expect(templates.reduce((sum, { results }) => sum + Object.keys(results).length, 0)).toBe(803);
  });

  for (const { template, chat_template: source, results, bos_token, eos_token, date_string } of templates) {
    test(template, () => {
      const specialTokens = { bos_token, eos_token, ...(date_string === undefined ? {} : { date_string }) };
      for (const [name, golden] of Object.entries(results)) {
        const got = outcome(source, { specialTokens, clock }, conversationOf(conversations[name] ?? {}));
        if (golden.rendered === undefined) {
          expect([name, 'refused' in got]).toEqual([name, true]);
          continue;
        }
        expect([name, 'refused' in got ? got : got.text]).toEqual([name, golden.rendered]);
        if (golden.assistant_char_spans !== undefined && 'rendered' in got) {
          expect([name, got.rendered.assistantSpans]).toEqual([
            name,
            unitsOf(golden.rendered, golden.assistant_char_spans),
          ]);
        }
      }
    });
  }
});

interface JsCase {
  readonly name: string;
  readonly chat_template: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly target: string;
  readonly jinja2_agrees: boolean;
}

whenThere('templates that @huggingface/jinja is tested with', () => {
  const cases = lines('huggingface_js.jsonl') as ReadonlyArray<JsCase>;

  test('are all there', () => {
    expect(cases.length).toBe(43);
  });

  // In its target a list printed as text is JSON; Jinja2 prints Python's spelling.
  const asPython = (target: string): string =>
    target.replace(/^\[\{.*\}\]$/m, (json) =>
      json.replaceAll('\\"', '\u0000').replaceAll('"', "'").replaceAll('\u0000', '"'),
    );
  const targets: Readonly<Record<string, (target: string) => string>> = { 'MadeAgents/Hammer2.1': asPython };
  // Rendered with the switch undefined there, which this template takes for true.
  const asked: ReadonlySet<string> = new Set(['ai21labs/AI21-Jamba-Large-1.6']);
  // The day of SmolLM3's target.
  const clock = (): Date => new Date(2025, 6, 10, 12);

  test.each(cases.map((one) => [one.name, one] as const))('%s', (name, { chat_template: source, data, target }) => {
    const conversation = conversationOf(data);
    const got = outcome(
      source,
      { clock },
      asked.has(name) ? { ...conversation, addGenerationPrompt: true } : conversation,
    );
    expect('refused' in got ? got : got.text).toBe((targets[name] ?? ((same) => same))(target));
  });
});

interface CppCase {
  readonly name: string;
  readonly chat_template: string;
  readonly data: Readonly<Record<string, unknown>>;
  readonly error: string | null;
  readonly jinja2_target: string | null;
}

whenThere('templates that llama.cpp is tested with, as Jinja2 renders them', () => {
  const cases = lines('llamacpp.jsonl') as ReadonlyArray<CppCase>;

  test('are all there', () => {
    expect(cases.length).toBe(24);
  });

  test.each(cases.map((one) => [one.name, one] as const))('%s', (_, one) => {
    const got = outcome(one.chat_template, {}, conversationOf(one.data));
    if (one.error === null) expect('refused' in got ? got : got.text).toBe(one.jinja2_target);
    else expect('refused' in got ? got.refused : got.text).toMatch(/^E_TEMPLATE_/);
  });
});

interface UnitCase {
  readonly test: string;
  readonly chat_template: string | Readonly<Record<string, string>>;
  readonly messages?: ReadonlyArray<Message> | ReadonlyArray<ReadonlyArray<Message>>;
  readonly continue_final_message?: boolean;
  readonly expect: unknown;
}

whenThere('unit cases of transformers', () => {
  const cases = JSON.parse(text('transformers_unit_cases.json', '[]')) as ReadonlyArray<UnitCase>;
  const named = (name: string): ReadonlyArray<UnitCase> => cases.filter((one) => one.test === name);
  const templateOf = ({ chat_template: source }: UnitCase): ChatTemplate => {
    const made = makeChatTemplate(source as string);
    if (made._tag === 'Left') throw new Error(made.left.message);
    return made.right;
  };
  const rendered = (template: ChatTemplate, messages: ReadonlyArray<Message>): Rendered => {
    const result = template.render({ messages });
    if (result._tag === 'Left') throw new Error(result.left.message);
    return result.right;
  };

  test('are all there', () => {
    expect(cases.map((one) => one.test)).toEqual([
      'test_chat_template',
      'test_chat_template_batched',
      'test_jinja_loopcontrols',
      'test_jinja_strftime',
      'test_chat_template_return_assistant_tokens_mask',
      'test_continue_final_message',
      'test_continue_final_message',
      'test_chat_template_dict',
      'test_chat_template_dict_saving',
    ]);
  });

  test.each(['test_chat_template', 'test_jinja_loopcontrols'])('%s', (name) => {
    for (const one of named(name)) {
      expect(rendered(templateOf(one), one.messages as ReadonlyArray<Message>).text).toBe(one.expect);
    }
  });

  test('test_chat_template_batched: a batch is a stream of rows here', () => {
    for (const one of named('test_chat_template_batched')) {
      const batch = one.messages as ReadonlyArray<ReadonlyArray<Message>>;
      expect(batch.map((messages) => rendered(templateOf(one), messages).text)).toEqual(one.expect);
    }
  });

  test('test_jinja_strftime', () => {
    for (const one of named('test_jinja_strftime')) {
      expect(rendered(templateOf(one), []).text).toMatch(/^\d{4}-\d{2}-\d{2}$/);
    }
  });

  test('test_chat_template_return_assistant_tokens_mask', () => {
    for (const one of named('test_chat_template_return_assistant_tokens_mask')) {
      for (const messages of one.messages as ReadonlyArray<ReadonlyArray<Message>>) {
        const { text: whole, assistantSpans } = rendered(templateOf(one), messages);
        expect(assistantSpans.map(({ start, end }) => whole.slice(start, end))).toEqual(
          messages.filter(({ role }) => role === 'assistant').map(({ content }) => `${content}<|im_end|>`),
        );
      }
    }
  });

  test('test_continue_final_message: the row up to the end of the last message’s own text', () => {
    for (const one of named('test_continue_final_message')) {
      const messages = one.messages as ReadonlyArray<Message>;
      const { text: whole, provenance } = rendered(templateOf(one), messages);
      const last = provenance.findLast(({ message, field }) => message === messages.length - 1 && field === 'content');
      expect(one.continue_final_message === true ? whole.slice(0, last?.end) : whole).toBe(one.expect);
    }
  });

  test('test_chat_template_dict, test_chat_template_dict_saving: templates by name', () => {
    for (const one of named('test_chat_template_dict')) {
      const sources = one.chat_template as Readonly<Record<string, string>>;
      // `default` is what is used unless there are tools and a template for them.
      const template = namedTemplates(
        new Map([
          ['default', sources['template1'] ?? ''],
          ['tool_use', sources['template2'] ?? ''],
        ]),
      );
      expect(rendered(template, []).text).toBe('a');
      expect(template.render({ messages: [], tools: [{}] })).toMatchObject({ right: { text: 'b' } });
    }
    expect(named('test_chat_template_dict_saving').length).toBe(1);
  });
});
