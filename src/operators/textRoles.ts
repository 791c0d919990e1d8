/** Whose words are where in a text. */
import type { Rendered } from '../formats/templates/chatTemplate.js';
import type { Formatted, Message, Span } from '../records.js';

type Roles = Required<Pick<Formatted, 'roles'>>;

/** Fields of a message that stand in its header, not among its words. */
const headerFields: ReadonlySet<string> = new Set(['role', 'name']);

/**
 * Whose words are where in a conversation: of the assistant, all that it is to write, its end-of-turn mark included; of others, what
 * the data set holds. The rest is the template's.
 */
export const rolesOf = ({ provenance, assistantSpans }: Rendered, messages: ReadonlyArray<Message>): Roles => {
  const roles: Array<Span & { role: string }> = assistantSpans.map((span) => ({ ...span, role: 'assistant' }));
  for (const { message, field, start, end } of provenance) {
    const role = message === undefined ? undefined : messages[message]?.role;
    if (role === undefined || role === 'assistant' || field === undefined || headerFields.has(field)) continue;
    roles.push({ start, end, role });
  }
  roles.sort((a, b) => a.start - b.start);
  return { roles: roles.filter(({ start }, i) => start >= (roles[i - 1]?.end ?? 0)) };
};

/** A prompt up to its border, and its completion. */
export const promptAndCompletion = (border: number, end: number): Roles => ({
  roles: [
    { start: 0, end: border, role: 'prompt' },
    { start: border, end, role: 'completion' },
  ],
});
