/** A base model made ready for conversations: ChatML's tokens and template, and embeddings that have rows for them. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { among, checked } from '../../checked.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { withNumbersOf } from '../../formats/json/writtenNumbers.js';
import { withChatFormat } from '../../formats/tokenizing/addTokens.js';
import type { ChatFormat } from '../../formats/tokenizing/addTokens.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import type { CausalLM } from '../../model/model.js';
import { resizeTokenEmbeddings } from '../../model/resizeEmbeddings.js';
import type { NewTokenInit } from '../../model/resizeEmbeddings.js';
import type { ModelWithTokenizer } from './load.js';

/** How a base model is set up for conversations. */
export interface ChatFormatOptions extends ChatFormat {
  /** The embedding gets a multiple of this many rows. Default: as many as the tokenizer has entries. */
  readonly resizeToMultipleOf?: number | undefined;
  /** Where new rows begin. Default `normal`. */
  readonly newTokenInit?: NewTokenInit | undefined;
  /** Of the draws for new rows. Default 42. */
  readonly seed?: number | undefined;
}

/** A model and a tokenizer that know the format. */
export interface ChatReady {
  readonly model: CausalLM;
  readonly tokenizer: Tokenizer;
  /** Ids of tokens that the tokenizer did not have before: their rows have learned nothing yet. */
  readonly newTokenIds: ReadonlyArray<number>;
}

/** Token rows that the tokenizer needs, its special tokens with the highest ids included, as a multiple. */
export const rowsFor = (
  { vocabSize, bosTokenId = -1, eosTokenId = -1, padTokenId = -1 }: Tokenizer,
  multiple = 1,
): E.Either<FatalError, number> =>
  Number.isSafeInteger(multiple) && multiple > 0
    ? E.right(Math.ceil(Math.max(vocabSize, bosTokenId + 1, eosTokenId + 1, padTokenId + 1) / multiple) * multiple)
    : E.left(
        usage('E_OPTIONS', 'rows cannot be rounded up to that', {
          field: 'resizeToMultipleOf',
          expected: 'a whole number > 0',
          actual: String(multiple),
        }),
      );

/** What begins, ends and fills a sequence, in the model's files as in the tokenizer's. */
const withTokenIds = (model: CausalLM, { bosTokenId, eosTokenId, padTokenId }: Tokenizer): CausalLM => {
  const ids = {
    ...(bosTokenId === undefined ? {} : { bos_token_id: bosTokenId }),
    ...(eosTokenId === undefined ? {} : { eos_token_id: eosTokenId }),
    ...(padTokenId === undefined ? {} : { pad_token_id: padTokenId }),
  };
  return {
    ...model,
    config: {
      ...model.config,
      ...(bosTokenId === undefined ? {} : { bosTokenId }),
      ...(eosTokenId === undefined ? {} : { eosTokenIds: [eosTokenId] }),
      ...(padTokenId === undefined ? {} : { padTokenId }),
      raw: withNumbersOf(model.config.raw, { ...model.config.raw, ...ids }),
    },
    ...(model.generationConfig === undefined
      ? {}
      : { generationConfig: withNumbersOf(model.generationConfig, { ...model.generationConfig, ...ids }) }),
  };
};

/**
 * TRL's `setup_chat_format`: `<|im_start|>` and `<|im_end|>` begin and end sequences, the chat template is ChatML, and embedding and
 * head get a row for every token (they may shrink: a model padded to more rows than its tokenizer has entries loses those). Takes
 * the model over: use the result. Unlike TRL 0.7.10, unless `parity`: padding keeps a token of its own, so that the end of a turn is
 * trained; and the model's configuration learns the new ids, so that generation stops there.
 *
 * `E_UNKNOWN_CHAT_FORMAT` for another format than chatml, `E_LORA_PRESENT` where an adapter sits on the model and rows are missing.
 */
export const setupChatFormat = checked(
  'setupChatFormat',
  E.left,
  {
    0: among({ model: 'required', tokenizer: 'required' }),
    1: {
      resizeToMultipleOf: 'optional',
      newTokenInit: 'optional',
      seed: 'optional',
      format: 'optional',
      parity: 'optional',
    },
  },
  ({ model, tokenizer }: ModelWithTokenizer, options: ChatFormatOptions = {}): E.Either<FatalError, ChatReady> =>
    pipe(
      E.Do,
      E.bind('ready', () => withChatFormat(tokenizer, { format: options.format, parity: options.parity })),
      E.bind('rows', ({ ready }) => rowsFor(ready, options.resizeToMultipleOf)),
      E.bind('resized', ({ rows }) =>
        resizeTokenEmbeddings(model, { rows, init: options.newTokenInit, seed: options.seed }),
      ),
      E.map(({ ready, resized }) => ({
        model: options.parity === true ? resized : withTokenIds(resized, ready),
        tokenizer: ready,
        newTokenIds: [ready.bosTokenId, ready.eosTokenId].flatMap((id) =>
          id === undefined || tokenizer.idToToken(id) !== undefined ? [] : [id],
        ),
      })),
    ),
);
