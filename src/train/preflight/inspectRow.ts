/** What becomes of one row: every stage of its way gone through by itself, and what is odd about the outcome. */
import { isLeft, isRight } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { DataError, Place, Warning, WarningCode } from '../../errors.js';
import { placeOfRow } from '../../formats/datasets/sourced.js';
import { promptPrefixFaults } from '../../formats/templates/promptPrefix.js';
import { unshownFields } from '../../formats/templates/unshown.js';
import { decodeRow } from '../../operators/decode.js';
import { formatRow } from '../../operators/format.js';
import { countLearnable } from '../../operators/learnable.js';
import { maskCompletionsRow } from '../../operators/maskCompletions.js';
import { tokenizeRow } from '../../operators/tokenize.js';
import { truncateRow } from '../../operators/truncate.js';
import type { Example, Formatted, Labelled, Message, PreTokenized, Row, Tokenized } from '../../records.js';
import { ignoreIndex } from '../../records.js';
import { isParity } from '../options/parity.js';
import { textOnly } from '../preparing/prepare.js';
import type { PrepareConfig } from '../preparing/prepare.js';
import { rowPath } from '../preparing/rowPath.js';
import type { RowPathSetup } from '../preparing/rowPath.js';
import { tokenizedOnly } from '../preparing/tokenizedOnly.js';
import { endsWithStop, stopSequences } from './stops.js';

/** What rows are looked at with. */
export interface InspectSetup extends RowPathSetup {
  /** Ids at which generation is to end, beside the tokenizer's EOS and its template's end of turn. */
  readonly stopIds?: ReadonlyArray<number> | undefined;
}

interface Inspected {
  /** Position among the rows, from 0. */
  readonly index: number;
  readonly place: Place;
  /** Codes of what the stages warned of. */
  readonly warnings: ReadonlyArray<WarningCode>;
}

/** A row that no stage refused. */
export interface RowTaken extends Inspected {
  readonly kind: Example['kind'];
  /** As it goes on to packing, or cut to maxLength where rows are not packed. */
  readonly row: Labelled;
  /** Before anything is cut. */
  readonly length: number;
  readonly truncated: boolean;
  /** Labels that reach the loss. */
  readonly trained: number;
  /** Whether what it trains ends with a stop token somewhere; undefined where no stop token is known. */
  readonly stopTrained: boolean | undefined;
  /** Whether a document of it begins with BOS twice. */
  readonly doubledBos: boolean;
  /** Whether a turn is asked for otherwise than it is trained. */
  readonly promptDiffers: boolean;
  /** Fields of the conversation that its template writes nothing of. */
  readonly unshown: ReadonlyArray<string>;
  /** Whether an answer in it is blank, and calls no tool either. */
  readonly emptyAnswer: boolean;
}

export interface RowRefused extends Inspected {
  readonly error: DataError;
}

/** A row whose text goes into the buffer of 0.7.10's packing. */
export interface RowBuffered extends Inspected {
  readonly kind: Example['kind'];
  readonly text: string;
}

export type RowInspection = RowTaken | RowRefused | RowBuffered;

/** Whether a row came through to training. */
export const isTaken = (inspection: RowInspection): inspection is RowTaken => 'row' in inspection;

const hasDoubledBos = ({ inputIds, seqLengths }: Row, bos: number | undefined): boolean => {
  let at = 0;
  for (const length of seqLengths) {
    if (length > 1 && inputIds[at] === bos && inputIds[at + 1] === bos) return true;
    at += length;
  }
  return false;
};

const labelledRow = (labels: Int32Array, t: number): boolean => (labels[t] ?? ignoreIndex) !== ignoreIndex;

/** Whether any trained stretch closes with one of the stop sequences, all of it trained. */
const trainsStop = (row: Labelled, stops: ReadonlyArray<ReadonlyArray<number>>): boolean => {
  for (let t = 0; t < row.inputIds.length; t++) {
    if (!labelledRow(row.labels, t)) continue;
    const closed = stops.some(
      (stop) => endsWithStop(row.inputIds, t, stop) && stop.every((_, back) => labelledRow(row.labels, t - back)),
    );
    if (closed) return true;
  }
  return false;
};

const isBlank = ({ role, content, tool_calls: calls }: Message): boolean =>
  role === 'assistant' && content.trim() === '' && !(Array.isArray(calls) && calls.length > 0);

const hasEmptyAnswer = (example: Example): boolean =>
  (example.kind === 'promptCompletion' && example.completion.trim() === '') ||
  (example.kind === 'messages' && example.messages.some(isBlank));

/**
 * The way of a row through decoding, formatting, tokenising, masking and cutting, by the pure halves that `prepare` lifts. Rows
 * without a label are taken all the same, with `trained` 0.
 */
export const inspectRow = (
  setup: InspectSetup,
  config: PrepareConfig,
): ((raw: unknown, index: number) => RowInspection) => {
  const { tokenizer } = setup;
  let told: Array<WarningCode> = [];
  const warn = ({ code }: Warning): void => {
    told.push(code);
  };
  const path = rowPath(setup, config, warn);
  const [decode, format] = [decodeRow(path.shape), formatRow(path.format)];
  const [tokenize, mask] = [tokenizeRow(path.tokenize), maskCompletionsRow(path.mask)];
  const cut = truncateRow<Labelled>({ maxLength: config.maxLength });
  const buffered = config.packing && isParity(config) && tokenizer !== undefined;
  const text = textOnly(warn);
  const cuts = !config.packing || config.packingStrategy === 'bfd';
  const stops = stopSequences(tokenizer, setup.stopIds);
  const template = tokenizer?.chatTemplate;

  /** What the template makes of a conversation. */
  const rendering = (example: Example): Pick<RowTaken, 'promptDiffers' | 'unshown'> => {
    if (example.kind !== 'messages' || template === undefined) return { promptDiffers: false, unshown: [] };
    const { messages, tools, chatTemplateKwargs: kwargs } = example;
    const conversation = {
      messages,
      ...(tools === undefined ? {} : { tools }),
      ...(kwargs === undefined ? {} : { kwargs }),
    };
    const faults = promptPrefixFaults(template, conversation);
    const unshown = unshownFields(template, conversation);
    return {
      promptDiffers: isRight(faults) && faults.right.length > 0,
      unshown: isRight(unshown) ? unshown.right : [],
    };
  };

  const tokens = (formatted: Formatted | PreTokenized): Either<DataError, Tokenized> => {
    const checked = tokenizer === undefined ? tokenizedOnly(formatted) : undefined;
    return checked !== undefined && isLeft(checked) ? checked : tokenize(formatted);
  };

  return (raw, index) => {
    told = [];
    const place = placeOfRow(raw) ?? {};
    const refused = (error: DataError): RowRefused => ({ index, place, warnings: told, error });
    const example = decode(raw);
    if (isLeft(example)) return refused(example.left);
    const formatted = format(example.right);
    if (isLeft(formatted)) return refused(formatted.left);
    const { kind } = example.right;
    if (buffered) {
      const found = text(formatted.right);
      return isLeft(found) ? refused(found.left) : { index, place, warnings: told, kind, text: found.right.text };
    }
    const tokenized = tokens(formatted.right);
    if (isLeft(tokenized)) return refused(tokenized.left);
    const length = tokenized.right.inputIds.length;
    const whole = mask(tokenized.right);
    if (isLeft(whole)) return refused(whole.left);
    const kept = config.packing ? whole : cut(whole.right);
    if (isLeft(kept)) return refused(kept.left);
    const row = kept.right;
    return {
      index,
      place,
      warnings: told,
      kind,
      row,
      length,
      truncated: cuts && length > config.maxLength,
      trained: countLearnable(row.labels, row.seqLengths, ignoreIndex),
      stopTrained: stops.length === 0 ? undefined : trainsStop(row, stops),
      doubledBos: tokenizer?.bosTokenId !== undefined && hasDoubledBos(row, tokenizer.bosTokenId),
      ...rendering(example.right),
      emptyAnswer: hasEmptyAnswer(example.right),
    };
  };
};
