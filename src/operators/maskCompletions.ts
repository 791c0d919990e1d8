import { left, right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError, warning } from '../errors.js';
import type { DataError, Warning } from '../errors.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import { ignoreIndex as defaultIgnoreIndex } from '../records.js';
import type { Labelled, Tokenized, Transform } from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { maskCompletionsParity } from './completionOnlyParity.js';
import { labelsWithoutPad } from './lmLabels.js';
import { findIds, responseSpans } from './responses.js';
import { cutAsTokenizer } from './tokenizerCut.js';
import type { TokenizerCut } from './tokenizerCut.js';

/** What of a row is trained. */
export interface MaskCompletionsOptions {
  /** Train completions only. Default: wherever a row tells prompt and completion apart (under parity: never). */
  readonly completionOnlyLoss?: boolean | undefined;
  /** Train only what the assistant says. Default false. */
  readonly assistantOnlyLoss?: boolean | undefined;
  /** The label of what is not trained. Default -100. */
  readonly ignoreIndex?: number | undefined;
  /** Ids in front of each response (`templateIds` makes them of a string): all but the responses is masked. */
  readonly responseTemplate?: ReadonlyArray<number> | undefined;
  /** Ids in front of each instruction, for rows of several turns. */
  readonly instructionTemplate?: ReadonlyArray<number> | undefined;
  /** Refuse a row in which a template is not found (`E_RESPONSE_NOT_FOUND`) instead of masking all of it with a warning. */
  readonly strict?: boolean | undefined;
  /**
   * Labels exactly as the collators of TRL 0.7.10 make them: every pad id ignored, wherever it stands, and the faults of its
   * template search kept. Without it padding is known by position, and each response reaches to the next template.
   */
  readonly parity?: 'trl-0.7.10' | undefined;
  /** Needed under parity. */
  readonly padTokenId?: number | undefined;
  /** Under parity: how long a row may be when templates are sought in it. Absent: as long as it is. */
  readonly cutAt?: TokenizerCut | undefined;
  /** To show a row's text in warnings. */
  readonly tokenizer?: (Pick<Tokenizer, 'decode'> & Partial<Pick<Tokenizer, 'eosTokenId'>>) | undefined;
  /** Told of rows in which a template is not found (`W_RESPONSE_NOT_FOUND`, …). */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const maskCompletionsOptionNames: OptionNames<MaskCompletionsOptions & Rejecting> = {
  completionOnlyLoss: 'optional',
  assistantOnlyLoss: 'optional',
  ignoreIndex: 'optional',
  responseTemplate: 'optional',
  instructionTemplate: 'optional',
  strict: 'optional',
  parity: 'optional',
  padTokenId: 'optional',
  cutAt: 'optional',
  tokenizer: 'optional',
  warn: 'optional',
  rejects: 'optional',
};

const noMask = (kind: 'completion' | 'assistant'): DataError =>
  kind === 'completion'
    ? dataError(
        'E_NO_COMPLETION_MASK',
        'completionOnlyLoss is on, but the row does not tell prompt and completion apart',
        {
          expected: 'a prompt/completion row, or a responseTemplate',
        },
      )
    : dataError(
        'E_NO_ASSISTANT_MASK',
        'assistantOnlyLoss is on, but nothing in the row is known to be the assistant’s',
        {
          expected: 'a conversation rendered by a chat template',
        },
      );

const notFound = (which: 'response' | 'instruction', actual: string | undefined): Warning =>
  warning(
    which === 'response' ? 'W_RESPONSE_NOT_FOUND' : 'W_INSTRUCTION_NOT_FOUND',
    `The ${which} template is nowhere in this row, so none of it is trained`,
    {
      ...(actual === undefined ? {} : { actual }),
      hint: 'ids differ in context: a template that ends in a space, or Llama-2’s ▁, never matches; match on characters instead (tokenize)',
    },
  );

const padIsEos = (id: number): Warning =>
  warning('W_PAD_EQUALS_EOS', 'Pad and end-of-sequence are one token, so no end of a turn is trained', {
    actual: `both ${id}`,
    hint: 'give the tokenizer a pad token of its own, or leave out parity',
  });

/** Ignores everything outside the responses, document by document. False where a template was missing. */
const maskByTemplates = (
  row: Tokenized,
  labels: Int32Array,
  options: MaskCompletionsOptions,
  ignoreIndex: number,
): boolean => {
  const { responseTemplate = [], instructionTemplate, tokenizer, warn } = options;
  let complete = true;
  let start = 0;
  for (const length of row.seqLengths) {
    const end = start + length;
    const responses = findIds(row.inputIds, responseTemplate, start, end);
    const instructions =
      instructionTemplate === undefined ? undefined : findIds(row.inputIds, instructionTemplate, start, end);
    if (responses.length === 0 || instructions?.length === 0) {
      complete = false;
      const text = tokenizer?.decode(row.inputIds.subarray(start, end));
      if (responses.length === 0) warn?.(notFound('response', text));
      if (instructions?.length === 0) warn?.(notFound('instruction', text));
    }
    const spans = responseSpans({
      responses,
      responseLength: responseTemplate.length,
      instructions,
      instructionLength: instructionTemplate?.length,
      end,
    });
    let from = start;
    for (const span of spans) {
      labels.fill(ignoreIndex, from, span.start);
      from = span.end;
    }
    labels.fill(ignoreIndex, from, end);
    start = end;
  }
  return complete;
};

const parityLabels = (
  row: Tokenized,
  padTokenId: number,
  ignoreIndex: number,
  options: MaskCompletionsOptions,
): Int32Array => {
  const { responseTemplate, instructionTemplate, tokenizer, warn } = options;
  // The collator's own padding label is fixed; `ignore_index` serves its masking only.
  const labels = labelsWithoutPad(
    row.inputIds,
    padTokenId,
    responseTemplate === undefined ? ignoreIndex : defaultIgnoreIndex,
  );
  if (responseTemplate === undefined) return labels;
  const masked = maskCompletionsParity(labels, { responseTemplate, instructionTemplate, ignoreIndex });
  const text = masked.responseMissing || masked.instructionMissing ? tokenizer?.decode(row.inputIds) : undefined;
  if (masked.responseMissing) warn?.(notFound('response', text));
  if (masked.instructionMissing) warn?.(notFound('instruction', text));
  return masked.labels;
};

const ignoreWhere = (labels: Int32Array, mask: Uint8Array, ignoreIndex: number): void => {
  for (let t = 0; t < labels.length; t++) if (mask[t] === 0) labels[t] = ignoreIndex;
};

/**
 * Labels of a row: its ids (or the labels it brought) where every applicable mask allows, `ignoreIndex` elsewhere. A token of
 * loss weight 0 has no label. Refuses rows that lack a mask asked for (`E_NO_COMPLETION_MASK`, `E_NO_ASSISTANT_MASK`).
 */
export const maskCompletionsRow = (options: MaskCompletionsOptions = {}): Transform<Tokenized, Labelled> => {
  known('maskCompletions', amongRun(maskCompletionsOptionNames), options);
  const { completionOnlyLoss, assistantOnlyLoss = false, responseTemplate, instructionTemplate } = options;
  const { strict = false, parity, padTokenId, tokenizer, cutAt } = options;
  const ignoreIndex = options.ignoreIndex ?? defaultIgnoreIndex;
  if (
    parity !== undefined &&
    instructionTemplate !== undefined &&
    padTokenId !== undefined &&
    padTokenId === tokenizer?.eosTokenId
  ) {
    options.warn?.(padIsEos(padTokenId));
  }
  return (whole) => {
    const row = parity === undefined || cutAt === undefined ? whole : cutAsTokenizer(whole, cutAt);
    const { completionMask, assistantMask, givenLabels, ...rest } = row;
    if (responseTemplate?.length === 0 || instructionTemplate?.length === 0) {
      return left(
        dataError('E_TEMPLATE_EMPTY', 'A template of no ids is everywhere and nowhere', {
          expected: 'at least one id',
        }),
      );
    }
    let labels: Int32Array;
    if (parity !== undefined) {
      if (padTokenId === undefined) {
        return left(
          dataError('E_NO_PAD_TOKEN', 'The tokenizer has no pad token, which the collators of 0.7.10 ask for'),
        );
      }
      labels = parityLabels(row, padTokenId, ignoreIndex, options);
    } else {
      // Whatever a data set wrote to mean "ignored", no negative number is a token.
      labels = givenLabels?.map((label) => (label < 0 ? ignoreIndex : label)) ?? row.inputIds.slice();
      if (responseTemplate !== undefined && !maskByTemplates(row, labels, options, ignoreIndex) && strict) {
        return left(dataError('E_RESPONSE_NOT_FOUND', 'A template is nowhere in this row'));
      }
    }
    if (completionOnlyLoss ?? (parity === undefined && completionMask !== undefined)) {
      if (completionMask !== undefined) ignoreWhere(labels, completionMask, ignoreIndex);
      else if (givenLabels === undefined && responseTemplate === undefined) return left(noMask('completion'));
    }
    if (assistantOnlyLoss) {
      if (assistantMask !== undefined) ignoreWhere(labels, assistantMask, ignoreIndex);
      else if (givenLabels === undefined) return left(noMask('assistant'));
    }
    if (row.lossWeights !== undefined) {
      for (let t = 0; t < labels.length; t++) if (row.lossWeights[t] === 0) labels[t] = ignoreIndex;
    }
    return right({ ...rest, labels });
  };
};

/** `maskCompletionsRow` as a stage: tokens → labels, ignored where nothing is to be trained. `batch` takes no rows without labels. */
export const maskCompletions = (
  options: MaskCompletionsOptions & Rejecting = {},
): OperatorFunction<Tokenized, Labelled> => mapping('maskCompletions', maskCompletionsRow(options), options);
