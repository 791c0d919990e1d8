import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import type { Warning } from '../errors.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Formatted, PreTokenized, Tokenized, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { completionMask, needsOffsets } from './completionMask.js';
import { givenRow } from './givenRow.js';
import { tokensWithin, valuesAt, weightsAt } from './tokenSpans.js';

/** How text becomes token ids and masks. */
export interface TokenizeOptions {
  /** With `vocabSize` ids that a row brings are checked against it. */
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'encodeWithOffsets'> & Partial<Pick<Tokenizer, 'vocabSize'>>;
  /**
   * How the prompt's tokens are told from the completion's. `offsets` (default): by the characters each token covers.
   * `prompt_ids`, as TRL 1.x: as many tokens as the prompt alone has; `W_PROMPT_NOT_PREFIX` when they are not how the row begins.
   * Both agree wherever those are.
   */
  readonly promptBorder?: 'offsets' | 'prompt_ids' | undefined;
  /** Text in front of each response, found in the text and carried to tokens: token context cannot break it. Gives completionMask. */
  readonly responseTemplate?: string | undefined;
  /** Text in front of each instruction, for rows of several turns. */
  readonly instructionTemplate?: string | undefined;
  /** Numbers of the roles that rows tell, from 1; needed for the column `roles`. */
  readonly roleNumber?: ((role: string) => number) | undefined;
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const tokenizeOptionNames: OptionNames<TokenizeOptions & Rejecting> = {
  tokenizer: 'required',
  promptBorder: 'optional',
  responseTemplate: 'optional',
  instructionTemplate: 'optional',
  roleNumber: 'optional',
  warn: 'optional',
  rejects: 'optional',
};

/** What is told of a text's characters, carried to its tokens. */
const toldOf = (
  { assistantSpans, weights, roles }: Formatted,
  offsets: Int32Array,
  roleNumber: TokenizeOptions['roleNumber'],
): Pick<Tokenized, 'assistantMask' | 'lossWeights' | 'roles'> => {
  const numbers =
    roleNumber === undefined ? undefined : roles?.map(({ role, ...span }) => ({ ...span, value: roleNumber(role) }));
  return {
    ...(assistantSpans === undefined ? {} : { assistantMask: tokensWithin(offsets, assistantSpans) }),
    ...(weights === undefined ? {} : { lossWeights: weightsAt(offsets, weights) }),
    ...(numbers === undefined ? {} : { roles: Uint8Array.from(valuesAt(offsets, numbers, 0)) }),
  };
};

/** Tokens as one document, with the completion's if they are told. */
const oneDocument = (ids: Int32Array, completion: Uint8Array | undefined): Tokenized => ({
  inputIds: ids,
  seqLengths: [ids.length],
  ...(completion === undefined ? {} : { completionMask: completion }),
});

/**
 * Tokens of a text, one document, with the masks that its spans say: a token is completion when it begins at or behind the
 * border, the assistant's when it covers any character of an assistant span. A record that brings ids is checked and passes
 * (`E_LENGTHS_DISAGREE`, `E_TOKEN_ID`, `E_ATTENTION_MASK`, `E_POSITION_IDS`).
 */
export const tokenizeRow = (options: TokenizeOptions): Transform<Formatted | PreTokenized, Tokenized> => {
  known('tokenize', amongRun(tokenizeOptionNames), options);
  const { tokenizer, roleNumber } = options;
  return (row) => {
    if ('inputIds' in row) return givenRow(row, tokenizer.vocabSize);
    const { text, addSpecialTokens, assistantSpans, weights, roles } = row;
    const isTold =
      assistantSpans !== undefined || weights !== undefined || (roles !== undefined && roleNumber !== undefined);
    if (!isTold && !needsOffsets(row, options)) {
      const ids = tokenizer.encode(text, { addSpecialTokens });
      return right(oneDocument(ids, completionMask(row, { ids }, options)));
    }
    const tokens = tokenizer.encodeWithOffsets(text, { addSpecialTokens });
    const { ids, offsets } = tokens;
    return right({
      ...oneDocument(ids, completionMask(row, tokens, options)),
      ...toldOf(row, offsets, roleNumber),
    });
  };
};

/** `tokenizeRow` as a stage: text → token ids, and masks of what is completion or the assistant's. */
export const tokenize = (options: TokenizeOptions & Rejecting): OperatorFunction<Formatted | PreTokenized, Tokenized> =>
  mapping('tokenize', tokenizeRow(options), options);
