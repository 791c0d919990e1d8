/** A tokenizer with another chat template than its own. */
import { readFile } from 'node:fs/promises';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { withChatFormat } from '../formats/addTokens.js';
import { templatedTokenizer } from '../formats/templatedTokenizer.js';
import type { Tokenizer } from '../formats/tokenizer.js';
import { isParity } from './config.js';
import type { SftConfig } from './config.js';

/** What is at the path, or the text itself where there is no such file: Jinja source is no path. */
const sourceOf =
  (template: string): (() => Promise<string>) =>
  () =>
    readFile(template, 'utf8').catch(() => template);

/** The tokenizer with a template given as Jinja source or as a file of it, which is saved with the model too. */
export const withChatTemplate = (tokenizer: Tokenizer, template: string): TaskEither<FatalError, Tokenizer> =>
  pipe(
    TE.fromTask<string, FatalError>(sourceOf(template)),
    TE.flatMapEither((source) => templatedTokenizer(tokenizer, source)),
  );

/** The tokenizer as the options have it, its chat format or template set; a chat format also wants rows in the embedding. */
export const tokenizerAsked = (
  tokenizer: Tokenizer | undefined,
  config: Pick<SftConfig, 'chatFormat' | 'chatTemplate' | 'parity'>,
): TaskEither<FatalError, Tokenizer | undefined> => {
  if (tokenizer === undefined) return TE.right(undefined);
  if (config.chatFormat !== undefined)
    return TE.fromEither(withChatFormat(tokenizer, { format: config.chatFormat, parity: isParity(config) }));
  return config.chatTemplate === undefined ? TE.right(tokenizer) : withChatTemplate(tokenizer, config.chatTemplate);
};
