import { describe, expect, it } from '@jest/globals';
import type { Either } from 'fp-ts/lib/Either.js';
import * as t from 'io-ts';
import { dataError } from '../../src/errors.js';
import type { DataError, Warning } from '../../src/errors.js';
import { sourced, sourcedError } from '../../src/formats/datasets/sourced.js';
import { decodeRow, formattedBy, textField } from '../../src/operators/decode.js';
import { formatRow } from '../../src/operators/format.js';
import type { FormatOptions } from '../../src/operators/format.js';
import { tokenizeRow } from '../../src/operators/tokenize.js';
import type { TokenizeOptions } from '../../src/operators/tokenize.js';
import type { Example, Formatted, Message } from '../../src/records.js';
import { markedTemplate } from '../../property-tests/arbitraries/conversation.js';
import { wordTokenizer } from '../../property-tests/arbitraries/tokenizer.js';

const tokenizer = wordTokenizer({ addBos: true });
const rightOf = <A>(either: Either<DataError, A>): A => {
  if (either._tag === 'Left') throw new Error(either.left.message);
  return either.right;
};
const formatted = (
  example: Example,
  options: FormatOptions = { tokenizer },
): { row: Formatted; warnings: ReadonlyArray<string> } => {
  const warnings: Array<string> = [];
  const row = rightOf(formatRow({ ...options, warn: ({ code }: Warning) => warnings.push(code) })(example));
  if ('inputIds' in row) throw new Error('tokenised already');
  return { row, warnings };
};
const chat = (...contents: ReadonlyArray<string>): ReadonlyArray<Message> =>
  contents.map((content, i) => ({ role: i % 2 === 0 ? 'user' : 'assistant', content }));

describe('decode', () => {
  it('refuses with the place and the first field at fault', () => {
    const Chat = t.type({ messages: t.array(t.type({ role: t.string })) });
    expect(decodeRow(Chat)(sourced('a.jsonl', 7, { messages: [{ role: 'user' }, { role: 3 }] }))).toMatchObject({
      left: {
        code: 'E_ROW_SHAPE',
        file: 'a.jsonl',
        line: 7,
        field: 'messages.1.role',
        expected: 'string',
        actual: '3',
      },
    });
    expect(decodeRow(Chat)('text')).toMatchObject({ left: { code: 'E_ROW_SHAPE' } });
    const unreadable = dataError('E_JSON', 'not JSON', { file: 'a.jsonl', line: 2 });
    expect(decodeRow(Chat)(sourcedError('a.jsonl', 2, unreadable))).toMatchObject({ left: unreadable });
  });

  it('reads a text column, whatever else there is', () => {
    const decode = decodeRow(textField('body'));
    expect(decode({ body: 'hello', id: 3 })).toMatchObject({ right: { kind: 'text', text: 'hello' } });
    expect(decode(sourced('a.csv', 2, { id: 3 }))).toMatchObject({
      left: { code: 'E_NO_TEXT_FIELD', file: 'a.csv', line: 2, field: 'body', actual: 'columns id' },
    });
    expect(decode({ bdy: 'a' })).toMatchObject({ left: { hint: 'did you mean "bdy"?' } });
    expect(decode({ body: 3 })).toMatchObject({ left: { code: 'E_NO_TEXT_FIELD', actual: '3' } });
    expect(decode('bare')).toMatchObject({ left: { code: 'E_NO_TEXT_FIELD' } });
  });

  it('lets a function make the text, one string a row', () => {
    const decode = decodeRow(formattedBy(({ a }) => (a === 1 ? 'one' : ['a', 'b'])));
    const fails = (): never => {
      throw new TypeError('no such column');
    };
    expect(() => decodeRow(formattedBy(fails))({ a: 1 })).toThrow('formattingFunc failed: no such column');
    const codes: Array<string> = [];
    formattedBy((_row, ...more: ReadonlyArray<unknown>) => `${more.length}`, { warn: ({ code }) => codes.push(code) });
    const two = (_row: unknown, _more?: unknown): string => 'x';
    formattedBy(two, { warn: ({ code }) => codes.push(code) });
    expect(codes).toEqual(['W_FORMATTER_ARITY']);
    expect(decode({ a: 1, weight: 2 })).toEqual({ _tag: 'Right', right: { kind: 'text', text: 'one', weight: 2 } });
    expect(decode(sourced('a.json', 4, { a: 2 }))).toMatchObject({ left: { code: 'E_FORMATTER_NOT_STRING', line: 4 } });
  });

  it('lets a function give a row of another shape, which is decoded as if it had stood there', () => {
    const decode = decodeRow(formattedBy(({ q, a }) => ({ prompt: q, completion: a })));
    expect(decode({ q: 'two?', a: 'three.' })).toMatchObject({
      right: { kind: 'promptCompletion', prompt: 'two?', completion: 'three.' },
    });
    expect(decode(sourced('a.csv', 3, { q: 'two?' }))).toMatchObject({ left: { file: 'a.csv', line: 3 } });
  });

  it('gives a function a bare string as a text, and asks it nothing about token ids', () => {
    const warnings: Array<string> = [];
    const decode = decodeRow(
      formattedBy(({ text }) => [text].join().toUpperCase(), { warn: ({ code }) => warnings.push(code) }),
    );
    expect(decode('hi')).toMatchObject({ right: { kind: 'text', text: 'HI' } });
    expect(warnings).toEqual([]);
    expect(decode({ input_ids: [1], text: 'hi' })).toMatchObject({ right: { kind: 'tokenized', inputIds: [1] } });
    expect(warnings).toEqual(['W_FORMATTER_IGNORED']);
    expect(decode(7)).toMatchObject({ _tag: 'Left' });
  });
});

describe('format', () => {
  it('appends EOS to plain rows only where it is missing', () => {
    expect(formatted({ kind: 'text', text: 'hi' }).row).toEqual({ text: 'hi</s>', addSpecialTokens: true });
    expect(formatted({ kind: 'text', text: 'hi</s>' }).row.text).toBe('hi</s>');
    expect(formatted({ kind: 'text', text: 'hi' }, { tokenizer, appendEos: false }).row.text).toBe('hi');
    expect(formatted({ kind: 'text', text: 'hi' }, { tokenizer, addGenerationPrompt: true }).row.text).toBe('hi');
    expect(formatted({ kind: 'promptCompletion', prompt: 'a', completion: ' b' }).row).toEqual({
      text: 'a b</s>',
      addSpecialTokens: true,
      completionStart: 1,
    });
  });

  it('says once when no EOS is known', () => {
    const warnings: Array<string> = [];
    const format = formatRow({ warn: ({ code }) => warnings.push(code) });
    format({ kind: 'text', text: 'a' });
    format({ kind: 'text', text: 'b' });
    expect(warnings).toEqual(['W_NO_EOS']);
  });

  it('renders conversations and adds nothing', () => {
    const options = { tokenizer, template: markedTemplate() };
    const { row } = formatted({ kind: 'messages', messages: chat('q', 'a') }, options);
    expect(row.text).toBe('<|start|>user\nq<|end|>\n<|start|>assistant\na<|end|>\n');
    expect(row.addSpecialTokens).toBe(false);
    expect(row.assistantSpans).toEqual([{ start: 42, end: 50 }]);
    expect(row.text.slice(42, 50)).toBe('a<|end|>');
    expect(
      formatted({ kind: 'messages', messages: chat('q') }, { ...options, addGenerationPrompt: true }).row.text,
    ).toBe('<|start|>user\nq<|end|>\n<|start|>assistant\n');
    expect(formatRow({ tokenizer })({ kind: 'messages', messages: chat('q') })).toMatchObject({
      left: { code: 'E_NO_CHAT_TEMPLATE' },
    });
    expect(formatRow()({ kind: 'messages', messages: chat('q') })).toMatchObject({ left: { code: 'E_NO_TOKENIZER' } });
  });

  it('finds the border of a conversational prompt/completion row', () => {
    const { row, warnings } = formatted(
      { kind: 'messages', messages: chat('q', 'a'), promptMessages: 1 },
      { template: markedTemplate() },
    );
    expect(row.text.slice(row.completionStart)).toBe('a<|end|>\n');
    expect(warnings).toEqual([]);
  });

  it('says so when a template writes past turns otherwise, and keeps the prompt as it is asked', () => {
    const forgetful = markedTemplate();
    const template = {
      ...forgetful,
      render: (conversation: Parameters<typeof forgetful.render>[0]) =>
        forgetful.render({
          ...conversation,
          // Thoughts of past turns are left out, as reasoning models' templates do.
          messages: conversation.messages.map((message, i, all) =>
            i < all.length - 1 ? { ...message, content: message.content.replace(/\(.*\)/, '') } : message,
          ),
        }),
    };
    const { row, warnings } = formatted(
      { kind: 'messages', messages: chat('q(thought)', 'a'), promptMessages: 1 },
      { template },
    );
    expect(warnings).toEqual(['W_PROMPT_NOT_PREFIX']);
    expect(row.text.slice(row.completionStart)).toBe('a<|end|>\n');
    expect(row.promptText).toBe('<|start|>user\nq(thought)<|end|>\n<|start|>assistant\n');
  });

  it('never adds a second BOS to a text that has one', () => {
    expect(formatted({ kind: 'text', text: '<s>hi' })).toEqual({
      row: { text: '<s>hi</s>', addSpecialTokens: false },
      warnings: ['W_TEXT_HAS_BOS'],
    });
    expect(formatted({ kind: 'text', text: '<s>hi' }, { tokenizer, addSpecialTokens: true }).row.addSpecialTokens).toBe(
      true,
    );
  });

  it('as 0.7.10: special tokens always, no EOS, prompt and completion as two turns', () => {
    const options: FormatOptions = { tokenizer, template: markedTemplate({ bos: true }), parity: 'trl-0.7.10' };
    expect(formatted({ kind: 'text', text: '<s>hi' }, options).row).toEqual({ text: '<s>hi', addSpecialTokens: true });
    const { row } = formatted({ kind: 'promptCompletion', prompt: 'q', completion: 'a' }, options);
    expect(row.text).toBe('<s><|start|>user\nq<|end|>\n<|start|>assistant\na<|end|>\n');
    expect(row.addSpecialTokens).toBe(true);
    expect(row.completionStart).toBeUndefined();
    expect(
      formatted({ kind: 'messages', messages: chat('q', 'a'), promptMessages: 1 }, options).row.completionStart,
    ).toBeUndefined();
  });

  it('weighs an assistant’s end of turn like its message', () => {
    const messages = chat('q', 'a').map((message, i) => (i === 1 ? { ...message, weight: 0.5 } : message));
    const { row } = formatted({ kind: 'messages', messages, weight: 4 }, { template: markedTemplate() });
    expect(row.weights?.map(({ start, end, weight }) => [row.text.slice(start, end), weight])).toEqual([
      ['<|start|>user\nq<|end|>\n<|start|>', 4],
      ['assistant\na<|end|>', 2],
      ['\n', 4],
    ]);
  });
});

describe('tokenize', () => {
  const tokens = (row: Formatted, options: Partial<TokenizeOptions> = {}) => {
    const warnings: Array<string> = [];
    const made = rightOf(tokenizeRow({ tokenizer, ...options, warn: ({ code }) => warnings.push(code) })(row));
    const said = (mask: Uint8Array | undefined): string =>
      tokenizer.decode(made.inputIds.filter((_, i) => mask?.[i] === 1));
    return { made, warnings, completion: said(made.completionMask), assistant: said(made.assistantMask) };
  };

  it('masks the prompt, BOS included, and trains the EOS', () => {
    const { row } = formatted({ kind: 'promptCompletion', prompt: 'a b', completion: ' c d' });
    const { made, completion } = tokens(row);
    expect(tokenizer.decode(made.inputIds)).toBe('<s>a b c d</s>');
    expect(completion).toBe(' c d</s>');
    const { completion: all } = tokens(formatted({ kind: 'promptCompletion', prompt: '', completion: 'c d' }).row);
    expect(all).toBe('c d</s>');
  });

  it('warns of a token across the border, which stays masked either way', () => {
    const { row } = formatted({ kind: 'promptCompletion', prompt: 'a: ', completion: 'yes no' });
    expect(tokens(row)).toMatchObject({ completion: ' no</s>', warnings: ['W_BORDER_INSIDE_TOKEN'] });
    expect(tokens(row, { promptBorder: 'prompt_ids' })).toMatchObject({
      completion: ' no</s>',
      warnings: ['W_PROMPT_NOT_PREFIX'],
    });
  });

  it('counts the tokens of the prompt as it is asked, as TRL 1.x', () => {
    const row: Formatted = { text: 'q a', addSpecialTokens: false, completionStart: 1, promptText: 'q and more' };
    expect(tokens(row, { promptBorder: 'prompt_ids' })).toMatchObject({
      completion: '',
      warnings: ['W_PROMPT_NOT_PREFIX'],
    });
  });

  it('finds the responses of a text, and says when there are none', () => {
    const row = { text: '## Q: one\n## A: two\n## Q: three\n## A: four', addSpecialTokens: false };
    const templates = { responseTemplate: '## A:', instructionTemplate: '## Q:' };
    expect(tokens(row, templates).completion).toBe(' two\n four');
    expect(tokens(row, { responseTemplate: '## A:' }).completion).toBe(' four');
    expect(tokens(row, { responseTemplate: '## B:' })).toMatchObject({
      completion: '',
      warnings: ['W_RESPONSE_NOT_FOUND'],
    });
    expect(tokens(row, { ...templates, instructionTemplate: 'Human:' })).toMatchObject({
      completion: '',
      warnings: ['W_INSTRUCTION_NOT_FOUND'],
    });
  });

  it('carries weights to tokens', () => {
    const { row } = formatted({ kind: 'text', text: 'a b', weight: 0.5 });
    expect([...(tokens(row).made.lossWeights ?? [])]).toEqual([1, 0.5, 0.5, 0.5]);
    const given = tokenizeRow({ tokenizer })({ kind: 'tokenized', inputIds: [3, 4], weight: 2 });
    expect(given).toMatchObject({ right: { lossWeights: Float32Array.of(2, 2) } });
  });

  it.each([
    [{ inputIds: [1, 2], labels: [1] }, 'E_LENGTHS_DISAGREE'],
    [{ inputIds: [1, 2], attentionMask: [1] }, 'E_LENGTHS_DISAGREE'],
    [{ inputIds: [1, -2] }, 'E_TOKEN_ID'],
    [{ inputIds: [1, 1.5] }, 'E_TOKEN_ID'],
    [{ inputIds: [1, 100_000] }, 'E_TOKEN_ID'],
    [{ inputIds: [1, 2, 3], attentionMask: [1, 0, 1] }, 'E_ATTENTION_MASK'],
  ])('refuses ids that cannot be: %j', (columns, code) => {
    expect(tokenizeRow({ tokenizer })({ kind: 'tokenized', ...columns })).toMatchObject({ left: { code } });
  });

  it('takes a row that is all padding for an empty one', () => {
    const row = tokenizeRow({ tokenizer })({ kind: 'tokenized', inputIds: [1, 2], attentionMask: [0, 0] });
    expect(row).toMatchObject({ right: { inputIds: new Int32Array(0), seqLengths: [0] } });
  });
});
