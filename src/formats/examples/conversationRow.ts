/** Rows whose messages make a conversation. */
import * as E from 'fp-ts/lib/Either.js';
import type { Place } from '../../errors.js';
import type { Message } from '../../records.js';
import { isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { withNumbersOf } from '../json/writtenNumbers.js';
import { messagesOf, toolsOf, wrongType } from './conversation.js';
import { textOrNone, type Decoded, type ExampleOf, type Rows } from './rowColumns.js';

/** Messages with what else the row says of them: tools, documents, a system prompt, arguments of the template. */
export const conversation = (
  row: JsonRecord,
  messages: ReadonlyArray<Message>,
  place: Place,
  promptMessages = 0,
): Decoded<ExampleOf<'messages'>> => {
  const tools = toolsOf(row['tools'], 'tools', place);
  if (E.isLeft(tools)) return tools;
  const kwargs = row['chat_template_kwargs'];
  if (kwargs !== undefined && kwargs !== null && !isJsonRecord(kwargs)) {
    return E.left(wrongType('chat_template_kwargs', 'a record', kwargs, place));
  }
  const documents = row['documents'];
  if (documents !== undefined && documents !== null && !Array.isArray(documents)) {
    return E.left(wrongType('documents', 'a list of documents', documents, place));
  }
  const chatTemplateKwargs = withNumbersOf(kwargs ?? {}, {
    ...(Array.isArray(documents) && documents.length > 0 ? { documents: documents as ReadonlyArray<unknown> } : {}),
    ...kwargs,
  });
  const system = textOrNone(row, 'system', place);
  if (E.isLeft(system)) return system;
  const speaksFirst = messages[0]?.role === 'system' || system.right === '';
  return E.right({
    kind: 'messages',
    messages: speaksFirst ? messages : [{ role: 'system', content: system.right }, ...messages],
    ...(promptMessages === 0 ? {} : { promptMessages: promptMessages + (speaksFirst ? 0 : 1) }),
    ...(tools.right === undefined ? {} : { tools: tools.right }),
    ...(isJsonRecord(kwargs) || 'documents' in chatTemplateKwargs ? { chatTemplateKwargs } : {}),
  });
};

/** A column of messages. */
export const messagesRow =
  (column: string): Rows<ExampleOf<'messages'>> =>
  (row, place) =>
    E.flatMap((messages: ReadonlyArray<Message>) => conversation(row, messages, place))(
      messagesOf(row[column], column, place),
    );
