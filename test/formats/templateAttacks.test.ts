/** Chat templates come with models from strangers: what they can make a program do, and what they can reach. */
import { describe, expect, test } from '@jest/globals';
import { makeChatTemplate } from '../../src/formats/templates/chatTemplate.js';

const conversation = {
  kind: 'messages',
  messages: [
    { role: 'user', content: 'hi' },
    { role: 'assistant', content: 'yo' },
  ],
} as const;

/** The rendered text, or the code of the refusal. */
const outcome = (source: string): string => {
  const template = makeChatTemplate(source);
  if (template._tag === 'Left') return template.left.code;
  const rendered = template.right.render(conversation);
  return rendered._tag === 'Left' ? rendered.left.code : rendered.right.text;
};

const doubling = (operator: string, start: string): string =>
  `{% set ns = namespace(x=${start}) %}{% for i in range(60) %}{% set ns.x = ns.x ${operator} ns.x %}{% endfor %}`;

describe('a template that would take for ever or fill the memory is stopped', () => {
  test.each([
    "{{ 'a' * 1000000000 }}",
    "{{ 'é' * 100000000 }}",
    '{{ [0] * 1000000000 }}',
    '{{ (1, 2) * 1000000000 }}',
    doubling('~', "'aaaaaaaa'"),
    doubling('+', "'aaaaaaaa'"),
    doubling('+', '[1]'),
    '{% for i in range(1000000000) %}a{% endfor %}',
    '{{ range(999999999)|last }}',
    '{% for i in range(99999) %}{% for j in range(99999) %}{% endfor %}{% endfor %}',
    "{% for i in range(3000) %}{{ 'a' * 1000000 }}{% endfor %}",
    "{% for i in range(30000) %}{% set x = 'a' * 1000000 %}{% endfor %}",
    "{% for i in range(30000) %}{% set x = ('a' * 100000).replace('a', 'b') %}{% endfor %}",
    "{% for i in range(30000) %}{% set x = ('a' * 100000)|upper %}{% endfor %}",
    "{{ ('x' * 100000).replace('x', 'y' * 100000)|length }}",
    "{{ ('<' * 5000000)|e|e|e|length }}",
    "{{ ('a,' * 5000000).split(',')|join('xxxxxxxxxxxxxxxx')|length }}",
    "{{ '%1000000000s' % 'a' }}",
    "{{ '%.1000000000f' % 1.0 }}",
    "{{ '{:1000000000}'.format('a') }}",
    "{{ 'a'.center(1000000000) }}",
    "{{ 'a'.ljust(1000000000) }}",
    "{{ 'a'.zfill(1000000000) }}",
    "{{ 'a\nb'|indent(1000000000) }}",
    '{% macro m(n) %}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}',
    '{% macro m(n) %}{{ m(n + 1) }}{{ m(n + 1) }}{% endmacro %}{{ m(0) }}',
    `{{ 1${'+1'.repeat(100_000)} }}`,
    `{{ messages${'|upper'.repeat(100_000)} }}`,
  ])('%.70s', (source) => {
    expect(outcome(source)).toBe('E_TEMPLATE_LIMIT');
  });

  test.each([
    `{{ ${'('.repeat(50_000)}1${')'.repeat(50_000)} }}`,
    `{{ ${'['.repeat(50_000)}${']'.repeat(50_000)} }}`,
    '{% if 1 %}'.repeat(20_000),
    `{{ ${'-'.repeat(100_000)}1 }}`,
  ])('%.30s…, nested deeper than anybody writes', (source) => {
    expect(outcome(source)).toBe('E_TEMPLATE_SYNTAX');
  });

  test('texts that make regular expressions slow take one pass', () => {
    expect(outcome("{{ ('<' * 200000)|striptags|length }}")).toBe('200000');
    expect(outcome("{{ ('<!--' * 200000)|striptags|length }}")).toBe('800000');
    expect(outcome("{{ 'a<b c=d>e</b><!-- > -->f<!--g>h'|striptags }}")).toBe('aefh');
    expect(outcome("{{ ('a' * 1000000)|truncate(10) }}")).toBe('aaaaaaa...');
    expect(outcome("{{ ('9' * 1000000)|int }}")).toBe('0');
  });
});

describe('a template reaches its conversation and nothing else', () => {
  test.each([
    "{{ ''.constructor.constructor('return process')() }}",
    "{{ range.constructor('return process')() }}",
    '{{ messages.toString() }}',
    "{{ ''.__class__.__base__.__subclasses__() }}",
    '{{ messages[0].__class__.__mro__ }}',
    '{{ namespace.__proto__.x }}',
    '{{ raise_exception.call.call }}',
    '{{ self.__dict__.x }}',
    "{{ lipsum.__globals__['os'].popen('id').read() }}",
    '{% set x = [1] %}{% set _ = x.append(x) %}{{ x }}',
    '{% set d = {} %}{% set _ = d.update(messages[0]) %}{{ d }}',
  ])('%s: E_TEMPLATE_RENDER', (source) => {
    expect(outcome(source)).toBe('E_TEMPLATE_RENDER');
  });

  test.each([
    '{{ messages.__proto__ }}',
    '{{ messages.constructor }}',
    "{{ messages[0]['constructor'] }}",
    "{{ messages[0]['__proto__'] }}",
    "{{ messages|attr('__proto__') }}",
    '{{ {}.hasOwnProperty }}',
    '{{ ({}).polluted }}',
  ])('%s is undefined', (source) => {
    expect(outcome(source)).toBe('');
  });

  test('names of JavaScript are names like any other', () => {
    expect(outcome('{% set __proto__ = 1 %}{% set constructor = 2 %}{{ __proto__ }}{{ constructor }}')).toBe('12');
    expect(outcome("{{ {'__proto__': {'polluted': 1}}.polluted }}{{ dict(__proto__=1)['__proto__'] }}")).toBe('1');
    expect(outcome('{% set ns = namespace() %}{% set ns.__proto__ = 5 %}{{ ns.__proto__ }}{{ ns.polluted }}')).toBe(
      '5',
    );
    expect(Reflect.get({}, 'polluted')).toBeUndefined();
  });

  test.each(["{% include '/etc/passwd' %}", "{% import 'fs' as fs %}", "{% extends '/etc/passwd' %}"])(
    '%s: no file is read',
    (source) => {
      expect(outcome(source)).toMatch(/^E_TEMPLATE_/);
    },
  );
});
