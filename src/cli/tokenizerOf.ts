import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { loadTokenizer } from '../formats/tokenizing/loadTokenizer.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import { tokenizerAsked } from '../train/loading/withChatTemplate.js';
import type { SftConfig } from '../train/options/config.js';
import { tellingHub, type Line } from './tell.js';

/** The tokenizer that a call names, or that of its model, with the chat format or template of its options; undefined where it names none. */
export const tokenizerOf = (
  { tokenizer, model }: { readonly tokenizer?: string | undefined; readonly model?: string | undefined },
  config: SftConfig,
  err: Line,
): TaskEither<FatalError, Tokenizer | undefined> => {
  const directory = tokenizer ?? model;
  return directory === undefined
    ? TE.right(undefined)
    : pipe(
        loadTokenizer(directory, { hub: tellingHub(err) }),
        TE.flatMap((found) => tokenizerAsked(found, config)),
      );
};
