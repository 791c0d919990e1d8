/** Which tokens of a text are the completion: what the loss is to be of. */
import { warning } from '../errors.js';
import type { Warning } from '../errors.js';
import { describe } from '../formats/describe.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Formatted } from '../records.js';
import { findText, responseSpans } from './responses.js';
import { tokensFrom, tokensWithin } from './tokenSpans.js';

/** Those options of `tokenize` that say how a completion is told. */
export interface CompletionOptions {
  readonly tokenizer: Pick<Tokenizer, 'encode'>;
  readonly promptBorder?: 'offsets' | 'prompt_ids' | undefined;
  readonly responseTemplate?: string | undefined;
  readonly instructionTemplate?: string | undefined;
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Tokens of a text, with `offsets` [2n] where `needsOffsets` says so. */
interface Tokens {
  readonly ids: Int32Array;
  readonly offsets?: Int32Array;
}

const responseMissing = (which: 'response' | 'instruction', text: string): Warning =>
  warning(
    which === 'response' ? 'W_RESPONSE_NOT_FOUND' : 'W_INSTRUCTION_NOT_FOUND',
    `The ${which} template is nowhere in this row, so none of it is trained`,
    { actual: describe(text) },
  );

/** By the templates in front of responses. */
const byResponses = (
  text: string,
  offsets: Int32Array,
  responseTemplate: string,
  { instructionTemplate, warn }: CompletionOptions,
): Uint8Array => {
  const responses = findText(text, responseTemplate);
  const instructions = instructionTemplate === undefined ? undefined : findText(text, instructionTemplate);
  if (responses.length === 0) warn?.(responseMissing('response', text));
  if (instructions?.length === 0) warn?.(responseMissing('instruction', text));
  const spans = responseSpans({
    responses,
    responseLength: responseTemplate.length,
    instructions,
    instructionLength: instructionTemplate?.length,
    end: text.length,
  });
  return tokensWithin(offsets, spans);
};

/** By the characters that each token covers. */
const byOffsets = (text: string, border: number, offsets: Int32Array, warn: CompletionOptions['warn']): Uint8Array => {
  const { mask, crossed } = tokensFrom(offsets, border);
  if (crossed) {
    warn?.(
      warning(
        'W_BORDER_INSIDE_TOKEN',
        'One token covers the end of the prompt and the beginning of the completion; it is not trained',
        {
          actual: describe(text.slice(Math.max(0, border - 20), border + 20)),
          hint: 'begin completions with the space, instead of ending prompts with it',
        },
      ),
    );
  }
  return mask;
};

/** By as many tokens as the prompt alone has. */
const byPromptIds = (
  row: Formatted,
  border: number,
  ids: Int32Array,
  { tokenizer, warn }: CompletionOptions,
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

/** Whether the characters of a row's tokens tell what its completion is. */
export const needsOffsets = (
  { completionStart }: Formatted,
  { promptBorder = 'offsets', responseTemplate }: CompletionOptions,
): boolean => responseTemplate !== undefined || (completionStart !== undefined && promptBorder === 'offsets');

/** 1 for each token of the completion; undefined where a row does not tell prompt from completion. */
export const completionMask = (
  row: Formatted,
  { ids, offsets }: Tokens,
  options: CompletionOptions,
): Uint8Array | undefined => {
  const { text, completionStart: border } = row;
  const { promptBorder, responseTemplate, warn } = options;
  if (offsets !== undefined && responseTemplate !== undefined)
    return byResponses(text, offsets, responseTemplate, options);
  if (border === undefined) return undefined;
  return offsets === undefined || promptBorder === 'prompt_ids'
    ? byPromptIds(row, border, ids, options)
    : byOffsets(text, border, offsets, warn);
};
