import type { IdBuffer } from './idBuffer.js';

/** A text and its UTF-16 units; `units` may be longer than the text. */
export interface Source {
  readonly text: string;
  readonly units: Uint16Array;
}

/** Receives the UTF-16 range, within the source, that a token stands for; called once a token, in order. */
export type SpanSink = (start: number, end: number) => void;

/** What turns one pre-token, the units [from, to) of a source, into ids. */
export interface TokenModel {
  readonly encode: (source: Source, from: number, to: number, out: IdBuffer) => void;
  /**
   * The range of each id that `encode` gave for the same word: those in `out` from index `first` on. A token that holds part
   * of a character gets the whole character.
   */
  readonly spans: (source: Source, from: number, to: number, out: IdBuffer, first: number, sink: SpanSink) => void;
  /** The end of the piece that begins at `at` when a text may be cut further without changing any id. */
  readonly scan?: (units: Uint16Array, at: number, end: number) => number;
}
