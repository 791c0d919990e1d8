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
  readonly start: number;
  readonly end: number;
}

/** How much the loss of a stretch of text counts; a real number ≥ 0. */
export interface WeightedSpan extends Span {
  readonly weight: number;
}

/** One message of a conversation, as chat templates expect it. Fields beyond these (name, tool calls) ride along. */
export interface Message {
  readonly role: string;
  readonly content: string;
  /** Factor of the loss of the message's turn. */
  readonly weight?: number;
  /** Factors of the loss of stretches of `content`, in order and apart. Like `weight`, not the template's to see. */
  readonly contentWeights?: ReadonlyArray<WeightedSpan>;
  readonly [field: string]: unknown;
}

/** Text, all of it to be trained. */
export interface TextExample {
  readonly kind: 'text';
  readonly text: string;
  readonly weight?: number;
  /** Of stretches of `text`, in order and apart. */
  readonly textWeights?: ReadonlyArray<WeightedSpan>;
}

/** A text that is given and the one that is to be written after it. */
export interface PromptCompletionExample {
  readonly kind: 'promptCompletion';
  readonly prompt: string;
  readonly completion: string;
  readonly weight?: number;
  /** Of stretches of `prompt + completion`, in order and apart. */
  readonly textWeights?: ReadonlyArray<WeightedSpan>;
}

/** A conversation, which a chat template renders. */
export interface ConversationExample {
  readonly kind: 'messages';
  readonly messages: ReadonlyArray<Message>;
  /** Leading messages that are prompt (conversational prompt/completion rows); 0 when the row is one conversation. */
  readonly promptMessages?: number;
  readonly tools?: ReadonlyArray<unknown>;
  readonly chatTemplateKwargs?: Readonly<Record<string, unknown>>;
  readonly weight?: number;
}

/** Token ids that the dataset brought. */
export interface PreTokenized {
  readonly kind: 'tokenized';
  readonly inputIds: ReadonlyArray<number>;
  readonly labels?: ReadonlyArray<number>;
  /** 1 where the completion is; absent where there are labels, which decide by themselves. */
  readonly completionMask?: ReadonlyArray<number>;
  readonly attentionMask?: ReadonlyArray<number>;
  /** Counted from 0 in each document of the row; absent: the row is one document. */
  readonly positionIds?: ReadonlyArray<number>;
  readonly weight?: number;
  /** Of each token. */
  readonly lossWeights?: ReadonlyArray<number>;
}

/**
 * A decoded dataset row. Every shape on disk (Alpaca, ShareGPT, …) decodes to one of these. The loss of a token counts with the
 * product of the weights of its row, its message and its span; what has none counts once.
 */
export type Example = TextExample | PromptCompletionExample | ConversationExample | PreTokenized;

/** Rendered text and what is known about its characters. Positions are UTF-16 indices into `text`. */
export interface Formatted {
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
  readonly inputIds: Int32Array;
  readonly seqLengths: ReadonlyArray<number>;
}

/** Masks are aligned with `inputIds`; 1 = may train. */
export interface Tokenized extends Row {
  readonly completionMask?: Uint8Array;
  readonly assistantMask?: Uint8Array;
  /** Labels that the data set itself brought (pre-tokenised rows). */
  readonly givenLabels?: Int32Array;
  /** Real-valued loss weight a token; absent = 1 everywhere. */
  readonly lossWeights?: Float32Array;
  /** Whose words each token is, as a number that the preparing side has names for; 0: nobody's. Evaluation rows have it. */
  readonly roles?: Uint8Array;
}

/** Labels are unshifted (label[t] is inputIds[t] or `ignoreIndex`); the loss shifts. */
export interface Labelled extends Row {
  readonly labels: Int32Array;
  readonly lossWeights?: Float32Array;
  readonly roles?: Uint8Array;
  /** Which file each token came from, as a number that the preparing side has names for, and its line there (1-based). */
  readonly files?: Uint16Array;
  readonly lines?: Uint32Array;
}

/** A rectangular batch, every column row-major `[rows, columns]`. `numItems` counts labels that reach the loss after the shift. */
export interface Batch {
  readonly shape: readonly [number, number];
  readonly inputIds: Int32Array;
  readonly labels: Int32Array;
  /** 1 = real token, 0 = padding. */
  readonly attentionMask: Int32Array;
  /** Position of each token in its document, restarting at 0; 0 at padding. */
  readonly positionIds: Int32Array;
  readonly lossWeights?: Float32Array;
  readonly numItems: number;
}

/** What one optimizer step reports. `loss` is the mean over supervised tokens in nats; `gradNorm` is before clipping. */
export interface StepResult {
  readonly step: number;
  readonly epoch: number;
  readonly loss: number;
  /** The rate this step used. */
  readonly learningRate: number;
  readonly gradNorm: number;
  /** Real (unpadded) tokens of this step. */
  readonly numTokens: number;
  /** Supervised tokens of this step. */
  readonly numItems: number;
  readonly meanTokenAccuracy: number;
  /** Mean entropy of the predicted distribution over supervised positions, in nats. */
  readonly entropy: number;
  /** Mean over micro-batches of the load-balancing loss of routed experts, which is a part of the loss; absent where it is none. */
  readonly auxLoss?: number;
}
