import type { IdBuffer } from './idBuffer.js';

/** Receives the UTF-16 range, within the word, that a token stands for; called once a token, in order. */
export type SpanSink = (start: number, end: number) => void;

/** What turns one pre-token into ids. */
export interface TokenModel {
  readonly encode: (word: string, out: IdBuffer) => void;
  /**
   * The range of each id that `encode` gave for the word: `ids.at(from)` … the last. A token that holds part of a character
   * gets the whole character.
   */
  readonly spans: (word: string, ids: IdBuffer, from: number, sink: SpanSink) => void;
}
