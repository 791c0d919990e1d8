/** Lists of messages as data sets write them: role/content (OpenAI), from/value (ShareGPT), with tools and weights. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { dataError } from '../errors.js';
import type { DataError, Place } from '../errors.js';
import type { Message } from '../records.js';
import { describe, kindOf } from './describe.js';
import { nearest } from './nearest.js';

export type JsonRecord = Readonly<Record<string, unknown>>;

export const isJsonRecord = (value: unknown): value is JsonRecord =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);

/** `E_FIELD_TYPE`: a column is there, but of another type. */
export const wrongType = (field: string, expected: string, value: unknown, place: Place): DataError =>
  dataError('E_FIELD_TYPE', `"${field}" is ${kindOf(value)}, not ${expected}`, {
    ...place,
    field,
    expected,
    actual: describe(value),
  });

/** What ShareGPT calls its speakers → roles of chat templates. */
const roleOfSpeaker: Readonly<Record<string, string>> = {
  human: 'user',
  user: 'user',
  gpt: 'assistant',
  assistant: 'assistant',
  chatgpt: 'assistant',
  bing: 'assistant',
  bard: 'assistant',
  bot: 'assistant',
  model: 'assistant',
  system: 'system',
  developer: 'developer',
  tool: 'tool',
  observation: 'tool',
  function_response: 'tool',
  function_call: 'assistant',
};

/** A loss weight: any number ≥ 0; CSV brings it as text. Absent when null or missing. */
export const weightOf = (value: unknown, field: string, place: Place): Either<DataError, number | undefined> => {
  if (value === undefined || value === null) return E.right(undefined);
  const weight = typeof value === 'string' && value.trim() !== '' ? Number(value) : value;
  return typeof weight === 'number' && Number.isFinite(weight) && weight >= 0
    ? E.right(weight)
    : E.left(wrongType(field, 'a number ≥ 0', value, place));
};

/** The text of a content: a string, or parts of which each is text. Pictures and sounds are refused. */
const contentOf = (content: unknown, field: string, mayBeAbsent: boolean, place: Place): Either<DataError, string> => {
  if (typeof content === 'string') return E.right(content);
  if ((content === null || content === undefined) && mayBeAbsent) return E.right('');
  if (!Array.isArray(content)) return E.left(wrongType(field, 'a string', content, place));
  let text = '';
  for (const [i, part] of content.entries()) {
    if (typeof part === 'string') text += part;
    else if (isJsonRecord(part) && typeof part['text'] === 'string' && (part['type'] ?? 'text') === 'text') {
      text += part['text'];
    } else {
      return E.left(
        dataError('E_NOT_TEXT', `"${field}.${i}" is a part that is not text`, {
          ...place,
          field: `${field}.${i}`,
          expected: '{"type": "text", "text": …}',
          actual: describe(part),
        }),
      );
    }
  }
  return E.right(text);
};

const withWeight = (message: Message, value: unknown, field: string, place: Place): Either<DataError, Message> => {
  if (value === undefined) return E.right(message);
  const weight = weightOf(value, `${field}.weight`, place);
  if (E.isLeft(weight)) return weight;
  const { weight: _given, ...others } = message;
  const { role, content } = message;
  return E.right(weight.right === undefined ? { ...others, role, content } : { ...message, weight: weight.right });
};

/** {role, content, …}; content may be missing beside tool calls. Other keys ride along for the template. */
const openAiMessage = (value: JsonRecord, field: string, place: Place): Either<DataError, Message> => {
  const { role, content: given } = value;
  if (typeof role !== 'string') return E.left(wrongType(`${field}.role`, 'a string', role, place));
  const content = contentOf(given, `${field}.content`, Array.isArray(value['tool_calls']), place);
  if (E.isLeft(content)) return content;
  return withWeight({ ...value, role, content: content.right }, value['weight'], field, place);
};

const toolCallOf = (text: string): JsonRecord | undefined => {
  try {
    const call: unknown = JSON.parse(text);
    return isJsonRecord(call) && typeof call['name'] === 'string' ? call : undefined;
  } catch {
    return undefined;
  }
};

/** {from, value, …}; a `function_call` that is JSON becomes a tool call. */
const shareGptMessage = (value: JsonRecord, field: string, place: Place): Either<DataError, Message> => {
  const { from, value: given, ...others } = value;
  if (typeof from !== 'string') return E.left(wrongType(`${field}.from`, 'a string', from, place));
  const speaker = from.toLowerCase();
  const role = Object.hasOwn(roleOfSpeaker, speaker) ? roleOfSpeaker[speaker] : undefined;
  if (role === undefined) {
    const meant = nearest(from, Object.keys(roleOfSpeaker));
    return E.left(
      dataError('E_UNKNOWN_ROLE', `"${field}.from" is no known speaker`, {
        ...place,
        field: `${field}.from`,
        expected: `one of ${Object.keys(roleOfSpeaker).join(', ')}`,
        actual: describe(from),
        ...(meant === undefined ? {} : { hint: `did you mean "${meant}"?` }),
      }),
    );
  }
  const content = contentOf(given, `${field}.value`, false, place);
  if (E.isLeft(content)) return content;
  const call = speaker === 'function_call' ? toolCallOf(content.right) : undefined;
  const message: Message =
    call === undefined
      ? { ...others, role, content: content.right }
      : { ...others, role, content: '', tool_calls: [{ type: 'function', function: call }] };
  return withWeight(message, others['weight'], field, place);
};

const messageOf = (value: unknown, field: string, place: Place): Either<DataError, Message> => {
  if (!isJsonRecord(value)) return E.left(wrongType(field, 'a message {role, content}', value, place));
  if ('role' in value) return openAiMessage(value, field, place);
  if ('from' in value) return shareGptMessage(value, field, place);
  return E.left(wrongType(field, 'a message {role, content} or {from, value}', value, place));
};

/** One message or more, in either spelling. `E_EMPTY_CONVERSATION` when there is none. */
export const messagesOf = (value: unknown, field: string, place: Place): Either<DataError, ReadonlyArray<Message>> => {
  if (!Array.isArray(value)) return E.left(wrongType(field, 'a list of messages', value, place));
  if (value.length === 0) {
    return E.left(
      dataError('E_EMPTY_CONVERSATION', `"${field}" holds no message`, {
        ...place,
        field,
        expected: 'one message or more',
      }),
    );
  }
  const messages: Array<Message> = [];
  for (const [i, item] of value.entries()) {
    const message = messageOf(item, `${field}.${i}`, place);
    if (E.isLeft(message)) return message;
    messages.push(message.right);
  }
  return E.right(messages);
};

/** Tools as a list, or as the JSON text of one (columns that cannot hold mixed records hold that). Absent when null or empty. */
export const toolsOf = (
  value: unknown,
  field: string,
  place: Place,
): Either<DataError, ReadonlyArray<unknown> | undefined> => {
  if (value === undefined || value === null || value === '') return E.right(undefined);
  let tools: unknown = value;
  if (typeof value === 'string') {
    try {
      tools = JSON.parse(value);
    } catch {
      return E.left(wrongType(field, 'a list of tools, or JSON text of one', value, place));
    }
  }
  if (!Array.isArray(tools)) return E.left(wrongType(field, 'a list of tools', tools, place));
  return E.right(tools.length === 0 ? undefined : tools);
};
