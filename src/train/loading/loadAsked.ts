/** A model directory as the options of a run have it, for commands that look at a model and do not train it. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import type { SftConfig } from '../options/config.js';
import { checkVocabulary, loadOptionsOf, loadParts } from './load.js';
import type { Loaded, LoadedModel, LoadOptions } from './load.js';
import { tokenizerAsked } from './withChatTemplate.js';

/**
 * `loadParts` with the options' engine, quantisation and chat template. A chat format must be the model's already: rows that its
 * embedding has not learned are not drawn here (`E_VOCAB_MISMATCH`).
 */
export const loadAsked = (
  name: string,
  config: SftConfig,
  more: Pick<LoadOptions, 'adapterDir' | 'hub'> = {},
): TaskEither<FatalError, LoadedModel & Partial<Pick<Loaded, 'tokenizer'>>> =>
  pipe(
    loadParts(name, { ...loadOptionsOf(config), ...more }),
    TE.flatMap((loaded) =>
      pipe(
        tokenizerAsked(loaded.tokenizer, config),
        TE.tap((tokenizer) =>
          tokenizer === undefined ? TE.right(undefined) : TE.fromEither(checkVocabulary(loaded.model, tokenizer)),
        ),
        TE.map((tokenizer) => (tokenizer === undefined ? loaded : { ...loaded, tokenizer })),
      ),
    ),
  );
