/**
 * The plain records that flow between operators. Readonly data over typed arrays; a typed array inside a record is never
 * written by who receives it. No tensor crosses an operator boundary.
 */
import type { Either } from 'fp-ts/lib/Either.js';
import type { DataError } from './errors.js';

/** A pure stage: total over readonly data, silent, refusing by value. */
export type Transform<A, B> = (a: A) => Either<DataError, B>;

/** The label of a position that reaches no loss (PyTorch's `ignore_index`). */
export const ignoreIndex = -100;

/** Half-open range of UTF-16 positions in a text. */
export interface Span {
  /** The first position. */
  readonly start: number;
  /** The position behind the last. */
  readonly end: number;
}

/** How much the loss of a stretch of text counts; a real number ≥ 0. */
export interface WeightedSpan extends Span {
  readonly weight: number;
}

/** One message of a conversation, as chat templates expect it. Fields beyond these (name, tool calls) ride along. */
export interface Message {
  /** `system`, `user`, `assistant`, `tool`, or what else the template knows. */
  readonly role: string;
  readonly content: string;
  /** Factor of the loss of the message's turn, a real number ≥ 0. Default 1. */
  readonly weight?: number;
  /** Factors of the loss of stretches of `content`, in order and apart. Like `weight`, not the template's to see. */
  readonly contentWeights?: ReadonlyArray<WeightedSpan>;
  readonly [field: string]: unknown;
}

/** Text, all of it to be trained. */
export interface TextExample {
  readonly kind: 'text';
  readonly text: string;
  /** Factor of the loss of the row, a real number ≥ 0. Default 1. */
  readonly weight?: number;
  /** Factors of the loss of stretches of `text`, in order and apart. */
  readonly textWeights?: ReadonlyArray<WeightedSpan>;
}

/** A text that is given and the one that is to be written after it. */
export interface PromptCompletionExample {
  readonly kind: 'promptCompletion';
  readonly prompt: string;
  readonly completion: string;
  /** Factor of the loss of the row, a real number ≥ 0. Default 1. */
  readonly weight?: number;
  /** Factors of the loss of stretches of `prompt + completion`, in order and apart. */
  readonly textWeights?: ReadonlyArray<WeightedSpan>;
}

/** A conversation, which a chat template renders. */
export interface ConversationExample {
  readonly kind: 'messages';
  readonly messages: ReadonlyArray<Message>;
  /** Leading messages that are prompt (conversational prompt/completion rows); 0 when the row is one conversation. */
  readonly promptMessages?: number;
  /** Tools that may be called, as JSON schemas of functions, for the template to show. */
  readonly tools?: ReadonlyArray<unknown>;
  /** Further variables of the template (`enable_thinking`, …). */
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>;
  /** Factor of the loss of the row, a real number ≥ 0. Default 1. */
  readonly weight?: number;
}

/** Token ids that the dataset brought; every list has one entry a token. */
export interface PreTokenized {
  readonly kind: 'tokenized';
  readonly inputIds: ReadonlyArray<number>;
  /** Unshifted; -100 where nothing is trained. Absent: all is, unless a mask says otherwise. */
  readonly labels?: ReadonlyArray<number>;
  /** 1 where the completion is; absent where there are labels, which decide by themselves. */
  readonly completionMask?: ReadonlyArray<number>;
  /** 1 = real token, 0 = padding, which is left out. */
  readonly attentionMask?: ReadonlyArray<number>;
  /** Counted from 0 in each document of the row; absent: the row is one document. */
  readonly positionIds?: ReadonlyArray<number>;
  /** Factor of the loss of the row, a real number ≥ 0. Default 1. */
  readonly weight?: number;
  /** Factor of the loss of each token, a real number ≥ 0. */
  readonly lossWeights?: ReadonlyArray<number>;
}

/**
 * A decoded dataset row. Every shape on disk (Alpaca, ShareGPT, …) decodes to one of these. The loss of a token counts with the
 * product of the weights of its row, its message and its span; what has none counts once.
 */
export type Example = TextExample | PromptCompletionExample | ConversationExample | PreTokenized;

/** Rendered text and what is known about its characters. Positions are UTF-16 indices into `text`. */
export interface Formatted {
  /** What tokens are made of, as the template rendered it. */
  readonly text: string;
  /** False when a template already printed BOS/EOS, or the row must be taken as it is. */
  readonly addSpecialTokens: boolean;
  /** Text positions at and after this are completion; absent when the row has no prompt/completion border. */
  readonly completionStart?: number;
  /** The prompt as it is rendered alone, where that is not `text` up to `completionStart`. */
  readonly promptText?: string;
  /** What the assistant is to write, its end-of-turn mark included; absent when the row is no conversation. */
  readonly assistantSpans?: ReadonlyArray<Span>;
  /** Loss weights of spans, when any message or row carries one; characters outside weigh 1. */
  readonly weights?: ReadonlyArray<WeightedSpan>;
  /** Whose words are where (`system`, `user`, …; `prompt` and `completion`), when that was asked for; increasing, apart. */
  readonly roles?: ReadonlyArray<Span & { readonly role: string }>;
}

/** Token ids of one or more documents laid end to end. `sum(seqLengths) === inputIds.length`. */
export interface Row {
  /** [tokens] */
  readonly inputIds: Int32Array;
  /** [documents] Tokens of each. */
  readonly seqLengths: ReadonlyArray<number>;
}

/** Tokens, and masks that say where they may be trained: aligned with `inputIds`, 1 = may. */
export interface Tokenized extends Row {
  /** [tokens] 1 in the completion; absent where the row has no prompt. */
  readonly completionMask?: Uint8Array;
  /** [tokens] 1 in what the assistant says; absent where the row is no conversation. */
  readonly assistantMask?: Uint8Array;
  /** [tokens] Labels that the data set itself brought (pre-tokenised rows). */
  readonly givenLabels?: Int32Array;
  /** [tokens] How much each token's loss counts; absent = 1 everywhere. */
  readonly lossWeights?: Float32Array;
  /** [tokens] Whose words each token is, as a number that the preparing side has names for; 0: nobody's. Evaluation rows have it. */
  readonly roles?: Uint8Array;
}

/** Tokens, and which of them are trained; every column is aligned with `inputIds`. */
export interface Labelled extends Row {
  /** [tokens] Unshifted: `labels[t]` is `inputIds[t]`, or `ignoreIndex` where nothing is trained; the loss shifts. */
  readonly labels: Int32Array;
  /** [tokens] How much each token's loss counts; absent = 1 everywhere. */
  readonly lossWeights?: Float32Array;
  /** [tokens] Whose words each token is, as a number that the preparing side has names for; 0: nobody's. */
  readonly roles?: Uint8Array;
  /** [tokens] Which file each token came from, as a number that the preparing side has names for. */
  readonly files?: Uint16Array;
  /** [tokens] The line of that file, from 1. */
  readonly lines?: Uint32Array;
}

/** Rows side by side, filled up to one length; every column is row-major, of this shape. */
export interface Batch {
  /** [rows, columns] */
  readonly shape: readonly [number, number];
  /** Row after row, each padded to the same length with `padTokenId`. */
  readonly inputIds: Int32Array;
  /** Unshifted; `ignoreIndex` where nothing is trained, at padding and at the first token of each document. */
  readonly labels: Int32Array;
  /** 1 = real token, 0 = padding. */
  readonly attentionMask: Int32Array;
  /** Position of each token in its document, restarting at 0; 0 at padding. */
  readonly positionIds: Int32Array;
  /** How much each token's loss counts; absent = 1 everywhere. */
  readonly lossWeights?: Float32Array;
  /** Labels that reach the loss after the shift: what a mean over tokens divides by. */
  readonly numItems: number;
}

/** What one optimizer step reports. */
export interface StepResult {
  /** Updates done, this one included. */
  readonly step: number;
  /** Passes over the data, fractions included. */
  readonly epoch: number;
  /** Mean over supervised tokens, in nats, as `lossMean` has it. */
  readonly loss: number;
  /** The rate this step used. */
  readonly learningRate: number;
  /** L2 norm of all gradients together, before clipping. */
  readonly gradNorm: number;
  /** Real (unpadded) tokens of this step. */
  readonly numTokens: number;
  /** Supervised tokens of this step. */
  readonly numItems: number;
  /** Share of supervised tokens that the model ranked first. */
  readonly meanTokenAccuracy: number;
  /** Mean entropy of the predicted distribution over supervised positions, in nats. */
  readonly entropy: number;
  /** Mean over micro-batches of the load-balancing loss of routed experts, which is a part of the loss; absent where it is none. */
  readonly auxLoss?: number;
}
