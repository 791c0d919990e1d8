import { describe, expect, test } from '@jest/globals';
import { isLeft } from 'fp-ts/lib/Either.js';
import {
  type ChatTemplate,
  type ChatTemplateOptions,
  type Conversation,
  makeChatTemplate,
  type Rendered,
} from '../../src/formats/templates/chatTemplate.js';
import { chatMl } from '../../src/formats/templates/chatMl.js';
import { promptPrefixFaults } from '../../src/formats/templates/promptPrefix.js';
import { parseJsonExactly } from '../../src/formats/json/writtenNumbers.js';
import type { Message, Span } from '../../src/records.js';

const templateOf = (source: string, options: ChatTemplateOptions = {}): ChatTemplate => {
  const made = makeChatTemplate(source, options);
  if (isLeft(made)) throw new Error(made.left.message);
  return made.right;
};

const rendered = (template: ChatTemplate, conversation: Conversation): Rendered => {
  const result = template.render(conversation);
  if (isLeft(result)) throw new Error(`${result.left.code}: ${result.left.message}`);
  return result.right;
};

const pieces = (text: string, spans: ReadonlyArray<Span>): ReadonlyArray<string> =>
  spans.map(({ start, end }) => text.slice(start, end));

const talk: ReadonlyArray<Message> = [
  { role: 'system', content: 'Be brief.' },
  { role: 'user', content: 'One?' },
  { role: 'assistant', content: 'Two.' },
  { role: 'user', content: 'Three?' },
  { role: 'assistant', content: 'Four.' },
];

const llama2 =
  "{% for m in messages %}{% if m.role == 'user' %}{{ bos_token + '[INST] ' + m.content + ' [/INST]' }}{% elif m.role == 'assistant' %}{{ ' ' + m.content + ' ' + eos_token }}{% endif %}{% endfor %}";
const llama3 =
  "{{ bos_token }}{% for m in messages %}{{ '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n' + m.content|trim + '<|eot_id|>' }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const zephyr =
  "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}";
const byIndex =
  '{% for i in range(messages|length) %}{% set m = messages[i] %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}';
const vicuna =
  "{% for m in messages %}{% if m.role == 'user' %}USER: {{ m.content }} {% elif m.role == 'assistant' %}ASSISTANT: {{ m.content }}</s>{% endif %}{% endfor %}{% if add_generation_prompt %}ASSISTANT:{% endif %}";
const tokens = { bos_token: '<s>', eos_token: '</s>' };

describe('what the assistant writes, without generation blocks', () => {
  const cases: ReadonlyArray<readonly [string, string, ReadonlyArray<string>]> = [
    ['ChatML', chatMl.template, ['Two.<|im_end|>', 'Four.<|im_end|>']],
    ['Llama 2', llama2, [' Two. </s>', ' Four. </s>']],
    ['Llama 3', llama3, ['Two.<|eot_id|>', 'Four.<|eot_id|>']],
    ['Zephyr', zephyr, ['\nTwo.</s>', '\nFour.</s>']],
    ['messages by index', byIndex, ['Two.<|end|>', 'Four.<|end|>']],
    ['Vicuna', vicuna, [' Two.</s>', ' Four.</s>']],
  ];
  for (const [name, source, expected] of cases) {
    test(name, () => {
      const { text, assistantSpans } = rendered(templateOf(source, { specialTokens: tokens }), { messages: talk });
      // Zephyr's generation prompt lacks the newline that its turns begin with, so the assistant is to write it.
      const trimmed = name === 'Zephyr' ? pieces(text, assistantSpans).map((one) => `\n${one.trim()}`) : undefined;
      expect(trimmed ?? pieces(text, assistantSpans)).toEqual(expected);
    });
  }

  test('reasoning, tool calls and an empty answer belong to it', () => {
    const template = templateOf(
      `{%- for m in messages %}{{ '<|im_start|>' + m.role + '\\n' }}{%- if m.thought %}{{ '<think>\\n' + m.thought + '\\n</think>\\n' }}{%- endif %}{{ m.content or '' }}{%- for call in m.tool_calls or [] %}{{ '<tool_call>\\n' + call.function|tojson + '\\n</tool_call>' }}{%- endfor %}{{ '<|im_end|>\\n' }}{%- endfor %}{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{%- endif %}`,
    );
    const { text, assistantSpans } = rendered(template, {
      messages: [
        { role: 'user', content: 'Q' },
        { role: 'assistant', content: '', tool_calls: [{ function: { name: 'f', arguments: { x: 1 } } }] },
        { role: 'tool', content: 'R' },
        { role: 'assistant', content: 'A', thought: 'hm' },
        { role: 'user', content: 'Q' },
        { role: 'assistant', content: '' },
      ],
    });
    expect(pieces(text, assistantSpans)).toEqual([
      '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>',
      '<think>\nhm\n</think>\nA<|im_end|>',
      '<|im_end|>',
    ]);
  });

  test('an end-of-sequence token behind the last turn belongs to that turn', () => {
    const template = templateOf(
      '{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<|end|>\n{% endfor %}{% if add_generation_prompt %}<|assistant|>{% else %}{{ eos_token }}{% endif %}',
      { specialTokens: tokens },
    );
    const { text, assistantSpans } = rendered(template, { messages: talk.slice(1, 3) });
    expect(pieces(text, assistantSpans)).toEqual(['Two.<|end|>\n</s>']);
  });

  test('the loss weight of a message is not the template’s to see', () => {
    const template = templateOf('{{ messages|tojson }}');
    expect(rendered(template, { messages: [{ role: 'user', content: 'x', weight: 0.5 }] }).text).toBe(
      '[{"role": "user", "content": "x"}]',
    );
  });

  test('behind a prompt that arguments change, by every way that they print', () => {
    const template = templateOf(
      '{% for m in messages %}<|{{ m.role }} {{ n }}|>{{ m.content }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant {{ n }}|>{% endif %}',
    );
    const written = ['1', '1.0', '9007199254740992', '9007199254740993', '"1"'];
    const all = written.map((n) => parseJsonExactly(`{"n": ${n}}`) as Readonly<Record<string, unknown>>);
    for (const kwargs of [...all, { n: 9007199254740993n }]) {
      const { text, assistantSpans } = rendered(template, { messages: talk, kwargs });
      expect(pieces(text, assistantSpans)).toEqual(['Two.<|end|>', 'Four.<|end|>']);
    }
  });
});

describe('generation blocks', () => {
  test('define the spans, through macros and captured blocks too', () => {
    const template = templateOf(
      '{% macro turn(m) %}{{ m.content }}<end>{% endmacro %}{% for m in messages %}{% if m.role == "assistant" %}A:{% generation %}{{ turn(m) }}{% endgeneration %}\n{% else %}{% set x %}U:{{ turn(m) }}\n{% endset %}{{ x }}{% endif %}{% endfor %}',
    );
    const { text, assistantSpans } = rendered(template, { messages: talk.slice(1) });
    expect(text).toBe('U:One?<end>\nA:Two.<end>U:Three?<end>\nA:Four.<end>');
    expect(pieces(text, assistantSpans)).toEqual(['Two.<end>', 'Four.<end>']);
  });

  test('keep the white space control of their tags', () => {
    const template = templateOf('a {%- generation -%} b {%- endgeneration -%} c');
    expect(rendered(template, { messages: [] }).text).toBe('abc');
  });
});

describe('provenance', () => {
  test('survives slicing, stripping, concatenation, replacing, splitting, joining and JSON', () => {
    const template = templateOf(
      `{% for m in messages %}{{ ('>' ~ m.content.strip()[1:])|replace('b', 'B') }}|{{ m.content.split(',')|join(';') }}|{{ {'k': m.content}|tojson }}|{{ m.content|upper }}|{% endfor %}{{ tools|length }}`,
    );
    const { text, provenance } = rendered(template, { messages: [{ role: 'user', content: ' ab,c ' }], tools: [{}] });
    expect(text).toBe('>B,c| ab;c |{"k": " ab,c "}| AB,C |1');
    const data = provenance.filter(({ field }) => field === 'content').map(({ start, end }) => text.slice(start, end));
    expect(data).toEqual([',c', ' ab', 'c ', ' ab,c ', ' AB,C ']);
    expect(provenance.at(-1)).toEqual({ start: text.length - 1, end: text.length });
  });

  test('template text belongs to the message in whose turn it was written', () => {
    const { text, provenance } = rendered(templateOf(chatMl.template), { messages: talk.slice(1, 3) });
    expect(provenance.map(({ start, end, message, field }) => [text.slice(start, end), message, field])).toEqual([
      ['<|im_start|>', 0, undefined],
      ['user', 0, 'role'],
      ['\n', 0, undefined],
      ['One?', 0, 'content'],
      ['<|im_end|>\n', 0, undefined],
      ['<|im_start|>', 1, undefined],
      ['assistant', 1, 'role'],
      ['\n', 1, undefined],
      ['Two.', 1, 'content'],
      ['<|im_end|>\n', 1, undefined],
    ]);
  });
});

describe('the prompt is the beginning of the row', () => {
  for (const [name, source] of [
    ['ChatML', chatMl.template],
    ['Llama 2', llama2],
    ['Llama 3', llama3],
    ['Zephyr', zephyr],
  ] as const) {
    test(name, () => {
      const template = templateOf(source, { specialTokens: tokens });
      expect(promptPrefixFaults(template, { messages: talk })).toEqual({ _tag: 'Right', right: [] });
    });
  }

  test('where a template rewrites earlier turns, the turn and the place are told', () => {
    const dropping = templateOf(
      '{% for m in messages %}<{{ m.role }}>{{ m.content if loop.revindex < 3 else "" }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}',
    );
    expect(promptPrefixFaults(dropping, { messages: talk.slice(1) })).toMatchObject({
      right: [{ message: 1 }, { message: 3 }],
    });
  });
});

describe('what is set up as in transformers', () => {
  test('numbers print as Python prints them', () => {
    const kwargs = { a: 1e20, b: 2 ** 53 - 1, c: 0.5, d: 1e-7 };
    const template = templateOf('{{ a }} {{ [a]|tojson }} {{ b }} {{ c }} {{ d }}');
    expect(rendered(template, { messages: [], kwargs }).text).toBe('1e+20 [1e+20] 9007199254740991 0.5 1e-07');
  });

  test('special tokens, kwargs over them, tools and documents that are None when there are none', () => {
    const template = templateOf(
      '{{ eos_token }}{{ enable }}{{ tools is none }}{{ documents is none }}{{ pad_token is defined }}',
      {
        specialTokens: tokens,
      },
    );
    expect(rendered(template, { messages: [], kwargs: { enable: true, eos_token: '!' } }).text).toBe(
      '!TrueTrueTrueFalse',
    );
  });

  test('strftime_now reads the clock it was given', () => {
    const template = templateOf("{{ strftime_now('%d %b %Y, %A %H:%M:%S %-d %j') }}", {
      clock: () => new Date(2024, 6, 4, 9, 5, 3),
    });
    expect(rendered(template, { messages: [] }).text).toBe('04 Jul 2024, Thursday 09:05:03 4 186');
  });

  test('raise_exception refuses with its message and line', () => {
    const template = templateOf("\n{{ raise_exception('roles must alternate') }}");
    expect(template.render({ messages: [] })).toMatchObject({
      left: { code: 'E_TEMPLATE_RAISED', message: 'roles must alternate', line: 2 },
    });
  });
});

describe('bad templates do no harm', () => {
  const syntax = ['{% if %}', '{{', '{% for x in %}{% endfor %}', '{% endfor %}', "{{ 'x }}", '{{ 1 + }}', '{% zzz %}'];
  for (const source of syntax) {
    test(`${source}: E_TEMPLATE_SYNTAX`, () => {
      expect(makeChatTemplate(source)).toMatchObject({ left: { code: 'E_TEMPLATE_SYNTAX' } });
    });
  }

  test('what is wrong with one is told in the marks that it has', () => {
    const message = (source: string) => {
      const made = makeChatTemplate(source);
      return isLeft(made) ? made.left.message : undefined;
    };
    expect(message('{% for m in %}{% endfor %}')).toBe("expected an expression, got '%}'");
    expect(message('{{ 1 + }}')).toBe("unexpected '}}'");
  });

  const deep = `${'('.repeat(5000)}1${')'.repeat(5000)}`;
  test('nesting without end is refused, not a stack overflow', () => {
    expect(makeChatTemplate(`{{ ${deep} }}`)).toMatchObject({ left: { code: 'E_TEMPLATE_SYNTAX' } });
    expect(makeChatTemplate('{% if a %}'.repeat(5000))).toMatchObject({ left: { code: 'E_TEMPLATE_SYNTAX' } });
  });

  const endless = [
    '{% for i in range(100000) %}{% for j in range(100000) %}{% endfor %}{% endfor %}',
    '{% for i in range(100000) %}{% for j in range(100000) if false %}{% endfor %}{% endfor %}',
    "{% set ns = namespace(s='x') %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}",
    '{% set ns = namespace(s=[1]) %}{% for i in range(99) %}{% set ns.s = ns.s + ns.s %}{% endfor %}',
    "{{ 'x' * 1000000000 }}",
    "{{ 'x'.center(1000000000) }}",
    "{{ '%1000000000s' % 'x' }}",
    "{{ '{:1000000000}'.format('x') }}",
    '{{ [1] * 1000000000 }}',
    "{{ 'x'|indent(1000000000, true) }}",
    '{{ range(1000000000) }}',
    '{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}',
    '{% for x in [messages] recursive %}{{ loop([x]) }}{% endfor %}',
    "{% for i in range(100000) %}{{ 'x' * 10000 }}{% endfor %}",
    "{% set big = 'ab' * 1000000 %}{% for i in range(100000) %}{% set x = big|replace('a', 'b') %}{% endfor %}",
  ];
  for (const source of endless) {
    test(`${source}: E_TEMPLATE_LIMIT`, () => {
      expect(templateOf(source, { maxSteps: 200_000 }).render({ messages: talk })).toMatchObject({
        left: { code: 'E_TEMPLATE_LIMIT' },
      });
    });
  }

  const hidden = [
    "''.__class__",
    "''['__class__']",
    'messages.__proto__',
    "messages['__proto__']",
    'messages.constructor',
    "messages['constructor']",
    "messages[0]['__proto__']",
    'messages[0].constructor',
    'messages[0].hasOwnProperty',
    "''.constructor",
    'range.constructor',
    "range['constructor']",
    "''.strip.constructor",
    'raise_exception.call',
    'namespace().__proto__',
    "namespace()['constructor']",
    '(1).constructor',
    'loop.constructor',
    "messages|attr('constructor')",
    "messages[0]|attr('__proto__')",
    'cycler(1).constructor',
  ];
  for (const expression of hidden) {
    test(`${expression} is nothing`, () => {
      const template = templateOf(`{% for x in [1] %}{{ (${expression}) is defined }}{% endfor %}`);
      expect(rendered(template, { messages: talk }).text).toBe('False');
    });
  }

  test('a template cannot call what changes its input, and changes nothing', () => {
    const messages = [{ role: 'user', content: 'x' }];
    const before = JSON.stringify(messages);
    for (const call of ['messages.append(1)', 'messages[0].update({})', 'messages[0].clear()', 'messages.pop()']) {
      expect(templateOf(`{{ ${call} }}`).render({ messages })).toMatchObject({ left: { code: 'E_TEMPLATE_RENDER' } });
    }
    expect(makeChatTemplate('{% set messages[0].role = 1 %}')).toMatchObject({ left: { code: 'E_TEMPLATE_SYNTAX' } });
    expect(JSON.stringify(messages)).toBe(before);
  });

  test('data that is no data, or goes round in circles', () => {
    const circle: Record<string, unknown> = {};
    circle['self'] = circle;
    const template = templateOf('x');
    for (const content of [circle, () => 1, Symbol('x'), new Uint8Array(2)]) {
      const messages = [{ role: 'user', content: content as unknown as string }];
      expect(template.render({ messages })).toMatchObject({ left: { code: 'E_TEMPLATE_RENDER' } });
    }
  });

  test('keys that a prototype has are data here', () => {
    const messages = [JSON.parse('{"role": "user", "content": "x", "__proto__": "p", "constructor": "c"}') as Message];
    const template = templateOf("{{ messages[0]['__proto__'] }}{{ messages[0].constructor }}");
    expect(rendered(template, { messages }).text).toBe('pc');
  });
});

describe('templates that go through parts of a content', () => {
  const parts =
    "{% for m in messages %}<{{ m.role }}>{% for part in m['content'] %}" +
    "{% if part['type'] == 'image' %}<image>{% elif part.type == 'text' %}{{ part['text'] }}{% endif %}" +
    '{% endfor %}<end>\n{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}';

  test('are given texts as parts, and the spans are those of the texts', () => {
    const whole = templateOf(parts, { readsParts: true });
    const messages = [
      { role: 'user', content: 'How many?' },
      { role: 'assistant', content: 'Two.' },
    ];
    const { text, assistantSpans, provenance } = rendered(whole, { messages });
    expect(text).toBe('<user>How many?<end>\n<assistant>Two.<end>\n');
    expect(pieces(text, assistantSpans)).toEqual(['Two.<end>']);
    const contents = provenance.filter(({ field }) => field === 'content');
    expect(contents.map(({ message, role, start, end }) => [message, role, text.slice(start, end)])).toEqual([
      [0, 'user', 'How many?'],
      [1, 'assistant', 'Two.'],
    ]);
  });

  test('as Jinja has it they leave strings out', () => {
    expect(rendered(templateOf(parts), { messages: [{ role: 'user', content: 'x' }] }).text).toBe('<user><end>\n');
  });

  test('weights of stretches stay with them', () => {
    const messages = [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'bcd', contentWeights: [{ start: 1, end: 2, weight: 0 }] },
    ];
    const { text, provenance } = rendered(templateOf(parts, { readsParts: true }), { messages });
    const weighed = provenance.filter(({ part }) => part !== undefined);
    expect(weighed.map(({ start, end }) => text.slice(start, end))).toEqual(['c']);
  });

  test('those that take either are given strings', () => {
    const either =
      "{% for m in messages %}{% if m['content'] is string %}s:{{ m['content'] }}" +
      "{% else %}{% for part in m['content'] %}p:{{ part['text'] }}{% endfor %}{% endif %}{% endfor %}";
    expect(
      rendered(templateOf(either, { readsParts: true }), { messages: [{ role: 'user', content: 'x' }] }).text,
    ).toBe('s:x');
    const raising = "{{ raise_exception('no') }}{{ messages[0].content }}";
    expect(templateOf(raising, { readsParts: true }).render({ messages: talk })).toMatchObject({
      left: { code: 'E_TEMPLATE_RAISED' },
    });
  });
});
