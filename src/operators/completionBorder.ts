/** Where the completion of a conversation begins in its text. */
import { warning } from '../errors.js';
import type { Warning } from '../errors.js';
import type { Rendered } from '../formats/templates/chatTemplate.js';
import type { Formatted } from '../records.js';

const commonPrefix = (a: string, b: string): number => {
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
};

/**
 * Where the completion of a conversational prompt/completion row begins: behind the prompt as it is rendered alone, with the
 * opening of the assistant's turn. When that is not how the whole begins, at the first text that is known to be the completion's.
 */
export const completionBorder = (
  whole: Rendered,
  prompt: string,
  promptMessages: number,
  warn: ((warning: Warning) => void) | undefined,
): Pick<Formatted, 'completionStart' | 'promptText'> => {
  if (whole.text.startsWith(prompt)) return { completionStart: prompt.length };
  warn?.(
    warning('W_PROMPT_NOT_PREFIX', 'The prompt rendered alone is not how the whole conversation begins', {
      expected: JSON.stringify(prompt.slice(-80)),
      actual: JSON.stringify(whole.text.slice(0, prompt.length).slice(-80)),
      hint: 'the template writes past turns otherwise than the last one; what the model is asked at inference differs from training',
    }),
  );
  const starts = whole.provenance
    .filter(({ message, field }) => message !== undefined && message >= promptMessages && field !== 'role')
    .map(({ start }) => start);
  return {
    completionStart: starts.length > 0 ? Math.min(...starts) : commonPrefix(whole.text, prompt),
    promptText: prompt,
  };
};
