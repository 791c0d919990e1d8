/** A tokenizer with another chat template than its own. */
import { readFile } from 'node:fs/promises';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { fileError } from '../../formats/files/byteSource.js';
import { withChatFormat } from '../../formats/tokenizing/addTokens.js';
import { templatedTokenizer } from '../../formats/tokenizing/templatedTokenizer.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { isParity } from '../options/parity.js';
import type { SftConfig } from '../options/config.js';

/** A text without any of these says the same of every conversation: it is the name of a file. */
const jinja = /\{[{%#]/;

/**
 * Jinja source: what the file of that name holds, or the text itself. The errors of reading a file (`E_NO_FILE`, …) for a text that
 * names none that can be read and has nothing of Jinja in it.
 */
export const chatTemplateSource =
  (template: string): TaskEither<FatalError, string> =>
  async () => {
    try {
      return E.right(await readFile(template, 'utf8'));
    } catch (cause) {
      if (jinja.test(template)) return E.right(template);
      const { code, message, details, kind } = fileError(template, cause);
      return E.left(
        fatal(code, message, {
          ...details,
          field: 'chatTemplate',
          hint: 'chatTemplate takes the path of a file, or Jinja source, which has {{ … }} or {% … %} in it',
          kind,
          cause,
        }),
      );
    }
  };

/** The fault of a template, with the file it was read from, or as that of the option. */
const placed =
  (file: string | undefined) =>
  ({ code, message, details: { line, ...details } }: FatalError): FatalError =>
    file === undefined
      ? usage(code, message, { ...details, field: 'chatTemplate' })
      : usage(code, message, { ...details, file, ...(line === undefined ? {} : { line }) });

/** The tokenizer with a template given as Jinja source or as a file of it, which is saved with the model too. */
export const withChatTemplate = (tokenizer: Tokenizer, template: string): TaskEither<FatalError, Tokenizer> =>
  pipe(
    chatTemplateSource(template),
    TE.flatMapEither((source) =>
      E.mapLeft(placed(source === template ? undefined : template))(templatedTokenizer(tokenizer, source)),
    ),
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
