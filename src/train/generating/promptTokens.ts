/** What a model is asked with, by the same pure halves that make its training rows. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { among, known } from '../../checked.js';
import { warning } from '../../errors.js';
import type { DataError, Warning } from '../../errors.js';
import { promptPrefixFaults } from '../../formats/templates/promptPrefix.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { formatRow } from '../../operators/format.js';
import { tokenizeRow } from '../../operators/tokenize.js';
import type { Example } from '../../records.js';

/** What makes a prompt’s ids. */
export interface PromptTokensOptions {
  readonly tokenizer: Tokenizer;
  /** Told where the template asks for a turn otherwise than it trains it (`W_PROMPT_NOT_PREFIX`). */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Warns of turns of the conversation that its template writes otherwise once they are past. */
const warnOfFaults = (example: Example, { tokenizer, warn }: PromptTokensOptions): void => {
  const template = tokenizer.chatTemplate;
  if (warn === undefined || template === undefined || example.kind !== 'messages') return;
  const { messages, tools, chatTemplateKwargs: kwargs } = example;
  const faults = promptPrefixFaults(template, {
    // The answer to come is a turn as well: any will do.
    messages: [...messages, { role: 'assistant', content: 'x' }],
    ...(tools === undefined ? {} : { tools }),
    ...(kwargs === undefined ? {} : { kwargs }),
  });
  if (E.isLeft(faults)) return;
  for (const { message, at, prompt } of faults.right) {
    warn(
      warning('W_PROMPT_NOT_PREFIX', `The template asks for turn ${message} otherwise than it trains it`, {
        field: `messages.${message}`,
        expected: `the training row to begin with ${JSON.stringify(prompt.slice(Math.max(0, at - 40)))}`,
        actual: `they part at character ${at}`,
        hint: 'train each turn as a prompt/completion row of its own, or use a template that keeps past turns',
      }),
    );
  }
};

/**
 * Ids of what a model is to continue: a text as it is, a prompt without its completion, or a conversation with the opening of
 * the assistant's turn, and nothing appended. They are how the row begins that the answered conversation is trained as, wherever
 * the template keeps that promise; `warn` hears where it does not.
 */
export const promptTokens = (options: PromptTokensOptions) => {
  known('promptTokens', among({ tokenizer: 'required', warn: 'optional' }), options);
  return (example: Example): Either<DataError, Int32Array> => {
    const { tokenizer } = options;
    warnOfFaults(example, options);
    return pipe(
      example.kind === 'promptCompletion' ? { kind: 'text' as const, text: example.prompt } : example,
      formatRow({ tokenizer, appendEos: false, addGenerationPrompt: true }),
      E.flatMap(tokenizeRow({ tokenizer })),
      E.map(({ inputIds }) => inputIds),
    );
  };
};
