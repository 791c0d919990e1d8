/** Lists of messages as data sets write them: role/content (OpenAI), from/value (ShareGPT), with tools and weights. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { dataError } from '../../errors.js';
import type { DataError, Place } from '../../errors.js';
import type { Message, WeightedSpan } from '../../records.js';
import { describe, kindOf } from '../describe.js';
import { isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { parseJsonExactly, withNumbersOf } from '../json/writtenNumbers.js';
import { nearest } from '../../nearest.js';

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

/** A text, and the loss weights of stretches of it. */
export interface WeightedText {
  readonly text: string;
  readonly weights: ReadonlyArray<WeightedSpan>;
}

/** A list of parts of one text, where a list of messages might stand. */
const isParts = (value: unknown): boolean =>
  Array.isArray(value) &&
  value.length > 0 &&
  value.every((part) => isJsonRecord(part) && 'text' in part && !('role' in part) && !('from' in part));

/** A text: a string, or parts of one. */
export const isTextual = (value: unknown): boolean => typeof value === 'string' || isParts(value);

/** A text given as a string, or as parts `{"text": …, "weight": …}` of which each is text. Pictures and sounds are refused. */
export const textOf = (value: unknown, field: string, place: Place): Either<DataError, WeightedText> => {
  if (typeof value === 'string') return E.right({ text: value, weights: [] });
  if (!Array.isArray(value)) return E.left(wrongType(field, 'a string', value, place));
  let text = '';
  const weights: Array<WeightedSpan> = [];
  for (const [i, part] of value.entries()) {
    if (typeof part === 'string') text += part;
    else if (isJsonRecord(part) && typeof part['text'] === 'string' && (part['type'] ?? 'text') === 'text') {
      const weight = weightOf(part['weight'], `${field}.${i}.weight`, place);
      if (E.isLeft(weight)) return weight;
      const end = text.length + part['text'].length;
      if (weight.right !== undefined && end > text.length) {
        weights.push({ start: text.length, end, weight: weight.right });
      }
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
  return E.right({ text, weights });
};

const contentOf = (
  content: unknown,
  field: string,
  mayBeAbsent: boolean,
  place: Place,
): Either<DataError, WeightedText> =>
  (content === null || content === undefined) && mayBeAbsent
    ? E.right({ text: '', weights: [] })
    : textOf(content, field, place);

/** A message of its fields, with the weight it has as a whole and those of parts of its content. */
const weighted = (
  fields: JsonRecord,
  role: string,
  { text, weights }: WeightedText,
  field: string,
  place: Place,
): Either<DataError, Message> => {
  const weight = weightOf(fields['weight'], `${field}.weight`, place);
  if (E.isLeft(weight)) return weight;
  // A column of the second name would be taken for ours.
  const { weight: _given, contentWeights: _named, ...others } = fields;
  return E.right({
    ...others,
    role,
    content: text,
    ...(weight.right === undefined ? {} : { weight: weight.right }),
    ...(weights.length === 0 ? {} : { contentWeights: weights }),
  });
};

/** {role, content, …}; content may be missing beside tool calls. Other keys ride along for the template. */
const openAiMessage = (value: JsonRecord, field: string, place: Place): Either<DataError, Message> => {
  const { role, content: given } = value;
  if (typeof role !== 'string') return E.left(wrongType(`${field}.role`, 'a string', role, place));
  const content = contentOf(given, `${field}.content`, Array.isArray(value['tool_calls']), place);
  return E.isLeft(content) ? content : weighted(value, role, content.right, field, place);
};

const toolCallOf = (text: string): JsonRecord | undefined => {
  try {
    const call = parseJsonExactly(text);
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
  const call = speaker === 'function_call' ? toolCallOf(content.right.text) : undefined;
  return call === undefined
    ? weighted(others, role, content.right, field, place)
    : weighted(
        { ...others, tool_calls: [{ type: 'function', function: call }] },
        role,
        { text: '', weights: [] },
        field,
        place,
      );
};

const messageOf = (value: unknown, field: string, place: Place): Either<DataError, Message> => {
  if (!isJsonRecord(value)) return E.left(wrongType(field, 'a message {role, content}', value, place));
  const known = (message: Message): Message => withNumbersOf(value, message);
  if ('role' in value) return E.map(known)(openAiMessage(value, field, place));
  if ('from' in value) return E.map(known)(shareGptMessage(value, field, place));
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
      tools = parseJsonExactly(value);
    } catch {
      return E.left(wrongType(field, 'a list of tools, or JSON text of one', value, place));
    }
  }
  if (!Array.isArray(tools)) return E.left(wrongType(field, 'a list of tools', tools, place));
  return E.right(tools.length === 0 ? undefined : tools);
};
