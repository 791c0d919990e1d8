/** What of a conversation its template does not write: no model sees it. */
import { type Either, map } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import type { DataError } from '../../errors.js';
import type { ChatTemplate, Conversation } from './chatTemplate.js';

const holdsText = (value: unknown): boolean => typeof value === 'string' && value.trim() !== '';
const holdsEntries = (value: unknown): boolean => Array.isArray(value) && value.length > 0;

/**
 * Fields of which nothing stands in the rendered text, as `tools`, `messages.2.content`, `messages.2.tool_calls`; blank ones have nothing to
 * show. Reasoning of past turns is left out by design, and not told.
 */
export const unshownFields = (
  template: ChatTemplate,
  conversation: Conversation,
): Either<DataError, ReadonlyArray<string>> =>
  pipe(
    template.render({ ...conversation, addGenerationPrompt: false }),
    map(({ provenance }) => {
      const shown = new Set(provenance.map(({ message, field }) => `${message ?? ''}.${field ?? ''}`));
      return [
        ...(holdsEntries(conversation.tools) && !shown.has('.tools') ? ['tools'] : []),
        ...conversation.messages.flatMap((message, i) => [
          ...(holdsText(message.content) && !shown.has(`${i}.content`) ? [`messages.${i}.content`] : []),
          ...(holdsEntries(message['tool_calls']) && !shown.has(`${i}.tool_calls`) ? [`messages.${i}.tool_calls`] : []),
        ]),
      ];
    }),
  );
