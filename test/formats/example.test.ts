import { describe, expect, it } from '@jest/globals';
import * as E from 'fp-ts/lib/Either.js';
import { join } from 'node:path';
import { render } from '../../src/errors.js';
import type { DataError } from '../../src/errors.js';
import { alpacaPrompt } from '../../src/formats/examples/alpacaPrompt.js';
import { openDataset } from '../../src/formats/datasets/dataset.js';
import { decodeExample, recogniseFormat } from '../../src/formats/examples/example.js';
import type { ExampleOptions } from '../../src/formats/examples/example.js';
import { sharedPath } from '../shared.js';
import { collected } from './temporary.js';

const decoded = (value: unknown, options: ExampleOptions = {}): unknown => {
  const result = decodeExample(value, {}, options);
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};
const refused = (value: unknown, options: ExampleOptions = {}): DataError => {
  const result = decodeExample(value, { file: 'f.jsonl', line: 7 }, options);
  if (E.isRight(result)) throw new Error(`decoded to ${JSON.stringify(result.right)}`);
  expect(result.left).toMatchObject({ file: 'f.jsonl', line: 7 });
  return result.left;
};
const user = { role: 'user', content: 'Hi' };
const assistant = { role: 'assistant', content: 'Hello' };

describe('decodeExample', () => {
  it('reads text, from the column named or from "text" as a last resort', () => {
    expect(decoded('x')).toEqual({ kind: 'text', text: 'x' });
    expect(decoded({ text: 'x', id: 3 })).toEqual({ kind: 'text', text: 'x' });
    expect(decoded({ body: 'x', messages: [user] }, { datasetTextField: 'body' })).toEqual({ kind: 'text', text: 'x' });
    expect(decoded({ text: 'x', messages: [user] })).toEqual({ kind: 'messages', messages: [user] });
    expect(refused({ body: 3 }, { datasetTextField: 'body' })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'body' });
  });

  it('reads prompt and completion, as texts or as lists of messages', () => {
    expect(decoded({ prompt: 'p', completion: 'c', weight: 0.5 })).toEqual({
      kind: 'promptCompletion',
      prompt: 'p',
      completion: 'c',
      weight: 0.5,
    });
    expect(decoded({ prompt: [user], completion: [assistant] })).toEqual({
      kind: 'messages',
      messages: [user, assistant],
      promptMessages: 1,
    });
    expect(decoded({ prompt: [user], completion: [assistant], system: 'Be kind' })).toMatchObject({
      promptMessages: 2,
    });
    expect(refused({ prompt: [user], completion: 'c' })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'completion' });
    expect(refused({ prompt: 3, completion: 'c' })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'prompt' });
  });

  it('reads conversations in both spellings', () => {
    expect(decoded({ messages: [{ ...user, name: 'Ann', weight: 0 }, assistant] })).toEqual({
      kind: 'messages',
      messages: [{ ...user, name: 'Ann', weight: 0 }, assistant],
    });
    expect(
      decoded({
        system: 'Be kind',
        conversations: [
          { from: 'human', value: 'Hi' },
          { from: 'gpt', value: 'Hello', weight: 2 },
          { from: 'function_call', value: '{"name":"f","arguments":{"x":1}}' },
          { from: 'observation', value: '3' },
        ],
        tools: '[{"name":"f"}]',
        chat_template_kwargs: { thinking: true },
      }),
    ).toEqual({
      kind: 'messages',
      messages: [
        { role: 'system', content: 'Be kind' },
        user,
        { ...assistant, weight: 2 },
        {
          role: 'assistant',
          content: '',
          tool_calls: [{ type: 'function', function: { name: 'f', arguments: { x: 1 } } }],
        },
        { role: 'tool', content: '3' },
      ],
      tools: [{ name: 'f' }],
      chatTemplateKwargs: { thinking: true },
    });
    expect(decoded({ messages: [{ role: 'system', content: 'own' }, user], system: 'other' })).toMatchObject({
      messages: [{ role: 'system', content: 'own' }, user],
    });
  });

  it('reads tool calls without content, and contents in parts', () => {
    const call = { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f' } }] };
    expect(decoded({ messages: [user, call] })).toMatchObject({ messages: [user, { ...call, content: '' }] });
    expect(
      decoded({
        messages: [
          {
            role: 'user',
            content: [
              { type: 'text', text: 'a' },
              { type: 'text', text: 'b' },
            ],
          },
        ],
      }),
    ).toMatchObject({ messages: [{ content: 'ab' }] });
    expect(refused({ messages: [{ role: 'user', content: [{ type: 'image', url: 'x' }] }] })).toMatchObject({
      code: 'E_NOT_TEXT',
      field: 'messages.0.content.0',
    });
    expect(refused({ messages: [{ role: 'user', content: null }] })).toMatchObject({ field: 'messages.0.content' });
  });

  it('reads Alpaca and Dolly rows with the prompt of Stanford Alpaca', () => {
    expect(decoded({ instruction: 'I', input: '', output: 'O' })).toEqual({
      kind: 'promptCompletion',
      prompt: alpacaPrompt('I'),
      completion: 'O',
    });
    expect(decoded({ instruction: 'I', context: 'C', response: 'O', category: 'x' })).toEqual({
      kind: 'promptCompletion',
      prompt: alpacaPrompt('I', 'C'),
      completion: 'O',
    });
    expect(decoded({ instruction: 'I', input: 'in', output: 'O', history: [['q', 'a']], system: 'S' })).toEqual({
      kind: 'messages',
      messages: [
        { role: 'system', content: 'S' },
        { role: 'user', content: 'q' },
        { role: 'assistant', content: 'a' },
        { role: 'user', content: 'I\nin' },
        { role: 'assistant', content: 'O' },
      ],
    });
    expect(refused({ instruction: 'I', output: 'O', history: [['q']] })).toMatchObject({ field: 'history.0' });
  });

  it('reads questions and answers', () => {
    expect(decoded({ question: 'q?', answer: 'a' })).toEqual({
      kind: 'promptCompletion',
      prompt: 'q?\n',
      completion: 'a',
    });
  });

  it('takes token ids as they are', () => {
    expect(decoded({ input_ids: [1, 2], labels: [-100, 2], attention_mask: [1, 1] })).toEqual({
      kind: 'tokenized',
      inputIds: [1, 2],
      labels: [-100, 2],
      attentionMask: [1, 1],
    });
    expect(decoded({ input_ids: [1, 2, 3], completion_mask: [0, 1, 1], assistant_masks: [1, 1, 0] })).toEqual({
      kind: 'tokenized',
      inputIds: [1, 2, 3],
      labels: [1, 2, -100],
      completionMask: [0, 1, 1],
    });
    expect(decoded({ input_ids: [1, 2], completion_mask: [0, 1], labels: [1, 2] })).toEqual({
      kind: 'tokenized',
      inputIds: [1, 2],
      labels: [1, 2],
    });
    expect(refused({ input_ids: [1, 2], labels: [1] })).toMatchObject({ code: 'E_LENGTHS_DISAGREE', field: 'labels' });
    for (const id of [-1, 1.5, 2 ** 31, '1', null]) {
      expect(refused({ input_ids: [1, id] })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'input_ids.1' });
    }
    expect(refused({ input_ids: [1], labels: [-1] })).toMatchObject({ field: 'labels.0' });
  });

  it('takes null for absent', () => {
    expect(decoded({ messages: null, text: 'x', weight: null })).toEqual({ kind: 'text', text: 'x' });
  });

  it('says column by column why a row is not recognised', () => {
    const error = refused({ mesages: [user], prompt: 'p' });
    expect(error.code).toBe('E_NO_TEXT_SOURCE');
    const message = render(error);
    expect(message).toContain('messages: "messages" is missing');
    expect(message).toContain('prompt/completion: "completion" is missing');
    expect(message).toContain('instruction: "instruction" is missing, "output" or "response" is missing');
    expect(message).toContain('columns mesages, prompt');
    expect(message).toContain('did you mean "messages" by "mesages"?');
    expect(render(refused({ body: 'x' }))).toContain('datasetTextField "body"');
    expect(refused([1]).code).toBe('E_ROW_TYPE');
    expect(refused({}).code).toBe('E_NO_TEXT_SOURCE');
  });

  it('names the faulty field of a recognised row', () => {
    expect(refused({ messages: [] })).toMatchObject({ code: 'E_EMPTY_CONVERSATION', field: 'messages' });
    expect(refused({ messages: 'x' })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'messages' });
    expect(refused({ messages: [user, { role: 'assistant', content: 3 }] })).toMatchObject({
      field: 'messages.1.content',
    });
    expect(refused({ conversations: [{ from: 'gpd', value: 'x' }] })).toMatchObject({
      code: 'E_UNKNOWN_ROLE',
      hint: 'did you mean "gpt"?',
    });
    expect(refused({ text: 'x', weight: -1 })).toMatchObject({ field: 'weight' });
    expect(refused({ messages: [{ ...user, weight: 'much' }] })).toMatchObject({ field: 'messages.0.weight' });
    expect(refused({ text: [{ text: 'x', weight: 'much' }] })).toMatchObject({ field: 'text.0.weight' });
    expect(refused({ text: ['x', 'y'] })).toMatchObject({ code: 'E_FIELD_TYPE', field: 'text' });
    expect(refused({ messages: [{ role: 'user', content: [{ type: 'image' }] }] })).toMatchObject({
      code: 'E_NOT_TEXT',
    });
    expect(refused({ input_ids: [1, 2], loss_weights: [1] })).toMatchObject({ code: 'E_LENGTHS_DISAGREE' });
    expect(refused({ input_ids: [1, 2], loss_weights: [1, -1] })).toMatchObject({ field: 'loss_weights.1' });
    expect(refused({ messages: [user], documents: 'x' })).toMatchObject({ field: 'documents' });
    expect(refused({ messages: [user], tools: 'not JSON' })).toMatchObject({ field: 'tools' });
    expect(refused({ messages: [user], chat_template_kwargs: 3 })).toMatchObject({ field: 'chat_template_kwargs' });
  });
});

describe('recogniseFormat', () => {
  it('reports the shape and every column looked for', () => {
    const report = recogniseFormat({ prompt: 'p', completion: 3 });
    expect(report).toMatchObject({ format: 'prompt/completion', error: { field: 'completion' } });
    expect(report.kind).toBeUndefined();
    expect(report.shapes.find(({ format }) => format === 'prompt/completion')).toEqual({
      format: 'prompt/completion',
      matches: true,
      columns: [
        { names: ['prompt'], expected: 'a string or a list of messages', actual: 'a string', ok: true },
        { names: ['completion'], expected: 'a string or a list of messages', actual: 'a number', ok: false },
      ],
    });
    expect(recogniseFormat({ text: 'x' })).toMatchObject({ format: 'text', kind: 'text' });
    expect(recogniseFormat({ a: 1 }).format).toBeUndefined();
    expect(recogniseFormat('x')).toMatchObject({ format: 'text', kind: 'text' });
  });
});

const datasets = sharedPath('data', 'datasets');
(datasets === undefined ? describe.skip : describe)(
  datasets === undefined ? 'real rows (skipped: no folder of shared data)' : 'real rows',
  () => {
    it.each([
      ['alpaca_en_demo.json.gz', { promptCompletion: 999 }],
      ['new_codealpaca.json.gz', { promptCompletion: 4535 }],
      ['lima.json.gz', { promptCompletion: 1000, messages: 29 }],
      ['gsm8k_train.jsonl.gz', { promptCompletion: 7473 }],
      ['fastchat_dummy_conversation.json.gz', { messages: 500 }],
      ['wikisql_lora_valid.jsonl', { text: 100 }],
      ['dolly_sample.json', { promptCompletion: 12 }],
      ['tinystories_0-799.json.gz', { text: 800 }],
      ['mt_bench_question.jsonl', { E_NO_TEXT_SOURCE: 80 }],
    ])('%s', async (name, expected) => {
      const counts: Record<string, number> = {};
      for (const row of await collected(openDataset(join(datasets ?? '', name)))) {
        const result = 'value' in row ? decodeExample(row.value) : E.left(row.error);
        const kind = E.isLeft(result) ? result.left.code : result.right.kind;
        counts[kind] = (counts[kind] ?? 0) + 1;
      }
      expect(counts).toEqual(expected);
    });
  },
);
