/** Whether what a model is asked with is the beginning of what it is trained on. */
import { type Either, isLeft, right } from 'fp-ts/lib/Either.js';
import type { DataError } from '../../errors.js';
import type { ChatTemplate, Conversation } from './chatTemplate.js';

/** A turn of the assistant whose prompt is not the beginning of the training row. */
export interface PrefixFault {
  /** Index of the assistant's message. */
  readonly message: number;
  /** First position at which prompt and row differ. */
  readonly at: number;
  readonly prompt: string;
}

/**
 * The turns at which serving and training part: for each message of the assistant, the messages before it rendered with a
 * generation prompt must be a prefix of the whole conversation rendered without. Empty for most templates; those that drop
 * or rewrite earlier turns (Qwen3 drops old reasoning) have faults here.
 */
export const promptPrefixFaults = (
  template: ChatTemplate,
  conversation: Conversation,
): Either<DataError, ReadonlyArray<PrefixFault>> => {
  const row = template.render({ ...conversation, addGenerationPrompt: false });
  if (isLeft(row)) return row;
  const { text } = row.right;
  const faults: PrefixFault[] = [];
  for (const [message, { role }] of conversation.messages.entries()) {
    if (role !== 'assistant' || message === 0) continue;
    const rendered = template.render({
      ...conversation,
      messages: conversation.messages.slice(0, message),
      addGenerationPrompt: true,
    });
    if (isLeft(rendered)) return rendered;
    const prompt = rendered.right.text;
    if (text.startsWith(prompt)) continue;
    let at = 0;
    while (at < prompt.length && prompt[at] === text[at]) at++;
    faults.push({ message, at, prompt });
  }
  return right(faults);
};
