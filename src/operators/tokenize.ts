import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError, warning } from '../errors.js';
import type { DataError, Warning } from '../errors.js';
import { describe } from '../formats/describe.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Formatted, PreTokenized, Tokenized, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { findText, responseSpans } from './responses.js';
import { tokensFrom, tokensWithin, valuesAt, weightsAt } from './tokenSpans.js';

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

const isId = (value: number): boolean => Number.isInteger(value) && value >= 0;

/** Lengths of the documents whose positions count 0, 1, 2, … each. */
const documentsOf = (positions: ReadonlyArray<number>): Either<DataError, ReadonlyArray<number>> => {
  const lengths: Array<number> = [];
  for (const [t, position] of positions.entries()) {
    const length = lengths[lengths.length - 1];
    if (position === 0) lengths.push(1);
    else if (position === length) lengths[lengths.length - 1] = length + 1;
    else {
      return left(
        dataError('E_POSITION_IDS', '"position_ids" do not count from 0 in each document', {
          field: 'position_ids',
          expected: length === undefined ? '0' : `0 or ${length} at token ${t}`,
          actual: `${position}`,
        }),
      );
    }
  }
  return right(lengths.length === 0 ? [0] : lengths);
};

/** Ids, labels and mask that a row brought, checked against each other. */
const given = (row: PreTokenized, vocabSize: number | undefined): Either<DataError, Tokenized> => {
  const { inputIds, labels, completionMask, attentionMask, positionIds, weight, lossWeights } = row;
  for (const [field, column] of [
    ['labels', labels],
    ['completion_mask', completionMask],
    ['attention_mask', attentionMask],
    ['position_ids', positionIds],
    ['loss_weights', lossWeights],
  ] as const) {
    if (column !== undefined && column.length !== inputIds.length) {
      return left(
        dataError('E_LENGTHS_DISAGREE', `"${field}" and "input_ids" are not equally long`, {
          field,
          expected: `${inputIds.length} numbers`,
          actual: `${column.length}`,
        }),
      );
    }
  }
  const bad = inputIds.find((id) => !isId(id) || (vocabSize !== undefined && id >= vocabSize));
  if (bad !== undefined) {
    return left(
      dataError('E_TOKEN_ID', 'A token id is not in the vocabulary', {
        field: 'input_ids',
        expected: vocabSize === undefined ? 'whole numbers from 0' : `whole numbers from 0 to ${vocabSize - 1}`,
        actual: describe(bad),
      }),
    );
  }
  // Padding that a row brought never reaches a model; only what is real stays.
  const real = inputIds.map((_, t) => attentionMask?.[t] !== 0);
  const first = real.indexOf(true);
  const last = real.lastIndexOf(true);
  const start = first === -1 ? 0 : first;
  const end = last + 1;
  if (real.slice(start, end).includes(false)) {
    return left(
      dataError('E_ATTENTION_MASK', '"attention_mask" hides tokens in the middle of the row', {
        field: 'attention_mask',
        expected: 'zeros at the ends only',
      }),
    );
  }
  const seqLengths = positionIds === undefined ? right([end - start]) : documentsOf(positionIds.slice(start, end));
  if (seqLengths._tag === 'Left') return seqLengths;
  return right({
    inputIds: Int32Array.from(inputIds.slice(start, end)),
    seqLengths: seqLengths.right,
    ...(labels === undefined ? {} : { givenLabels: Int32Array.from(labels.slice(start, end)) }),
    ...(completionMask === undefined ? {} : { completionMask: Uint8Array.from(completionMask.slice(start, end)) }),
    ...(weight === undefined && lossWeights === undefined
      ? {}
      : {
          lossWeights: Float32Array.from(
            { length: end - start },
            (_, t) => (weight ?? 1) * (lossWeights?.[start + t] ?? 1),
          ),
        }),
  });
};

const responseMissing = (which: 'response' | 'instruction', text: string): Warning =>
  warning(
    which === 'response' ? 'W_RESPONSE_NOT_FOUND' : 'W_INSTRUCTION_NOT_FOUND',
    `The ${which} template is nowhere in this row, so none of it is trained`,
    {
      actual: describe(text),
    },
  );

/** Completion mask by as many tokens as the prompt alone has. */
const byPromptIds = (
  row: Formatted,
  border: number,
  ids: Int32Array,
  { tokenizer, warn }: TokenizeOptions,
): Uint8Array => {
  const prompt = row.promptText ?? row.text.slice(0, border);
  const promptIds = tokenizer.encode(prompt, { addSpecialTokens: row.addSpecialTokens });
  if (promptIds.some((id, t) => ids[t] !== id)) {
    warn?.(
      warning('W_PROMPT_NOT_PREFIX', 'The tokens of the prompt alone are not how the tokens of the row begin', {
        actual: describe(prompt.slice(-40)),
        hint: 'a prompt that ends in a space, or within a word, joins the completion',
      }),
    );
  }
  return new Uint8Array(ids.length).fill(1, promptIds.length);
};

/**
 * Tokens of a text, one document, with the masks that its spans say: a token is completion when it begins at or behind the
 * border, the assistant's when it covers any character of an assistant span. A record that brings ids is checked and passes
 * (`E_LENGTHS_DISAGREE`, `E_TOKEN_ID`, `E_ATTENTION_MASK`, `E_POSITION_IDS`).
 */
export const tokenizeRow = (options: TokenizeOptions): Transform<Formatted | PreTokenized, Tokenized> => {
  known('tokenize', amongRun(tokenizeOptionNames), options);
  const { tokenizer, promptBorder = 'offsets', responseTemplate, instructionTemplate, roleNumber, warn } = options;
  return (row) => {
    if ('inputIds' in row) return given(row, tokenizer.vocabSize);
    const { text, addSpecialTokens, completionStart, assistantSpans, weights, roles } = row;
    const byOffsets =
      (completionStart !== undefined && promptBorder === 'offsets') ||
      assistantSpans !== undefined ||
      weights !== undefined ||
      (roles !== undefined && roleNumber !== undefined) ||
      responseTemplate !== undefined;
    if (!byOffsets) {
      const ids = tokenizer.encode(text, { addSpecialTokens });
      const plain = { inputIds: ids, seqLengths: [ids.length] };
      return right(
        completionStart === undefined
          ? plain
          : { ...plain, completionMask: byPromptIds(row, completionStart, ids, options) },
      );
    }
    const { ids, offsets } = tokenizer.encodeWithOffsets(text, { addSpecialTokens });
    let completionMask: Uint8Array | undefined;
    if (responseTemplate !== undefined) {
      const responses = findText(text, responseTemplate);
      const instructions = instructionTemplate === undefined ? undefined : findText(text, instructionTemplate);
      if (responses.length === 0) warn?.(responseMissing('response', text));
      if (instructions?.length === 0) warn?.(responseMissing('instruction', text));
      completionMask = tokensWithin(
        offsets,
        responseSpans({
          responses,
          responseLength: responseTemplate.length,
          instructions,
          instructionLength: instructionTemplate?.length,
          end: text.length,
        }),
      );
    } else if (completionStart !== undefined) {
      if (promptBorder === 'prompt_ids') completionMask = byPromptIds(row, completionStart, ids, options);
      else {
        const { mask, crossed } = tokensFrom(offsets, completionStart);
        completionMask = mask;
        if (crossed) {
          warn?.(
            warning(
              'W_BORDER_INSIDE_TOKEN',
              'One token covers the end of the prompt and the beginning of the completion; it is not trained',
              {
                actual: describe(text.slice(Math.max(0, completionStart - 20), completionStart + 20)),
                hint: 'begin completions with the space, instead of ending prompts with it',
              },
            ),
          );
        }
      }
    }
    return right({
      inputIds: ids,
      seqLengths: [ids.length],
      ...(completionMask === undefined ? {} : { completionMask }),
      ...(assistantSpans === undefined ? {} : { assistantMask: tokensWithin(offsets, assistantSpans) }),
      ...(weights === undefined ? {} : { lossWeights: weightsAt(offsets, weights) }),
      ...(roles === undefined || roleNumber === undefined
        ? {}
        : {
            roles: Uint8Array.from(
              valuesAt(
                offsets,
                roles.map(({ role, ...span }) => ({ ...span, value: roleNumber(role) })),
                0,
              ),
            ),
          }),
    });
  };
};

/** `tokenizeRow` as a stage: text → token ids, and masks of what is completion or the assistant's. */
export const tokenize = (options: TokenizeOptions & Rejecting): OperatorFunction<Formatted | PreTokenized, Tokenized> =>
  mapping('tokenize', tokenizeRow(options), options);
