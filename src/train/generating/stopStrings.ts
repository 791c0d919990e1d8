/** Texts that end a generation, found in a stream of its pieces. */
import { concat, defer, map, of, takeWhile, type Observable } from 'rxjs';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';

/** The ids of those stop strings that are special tokens: they are in no text. */
export const specialStops = (tokenizer: Tokenizer, stops: ReadonlyArray<string>): ReadonlyArray<number> =>
  stops.flatMap((stop) => {
    const id = tokenizer.tokenToId(stop);
    return id !== undefined && tokenizer.decode([id], { skipSpecialTokens: true }) === '' ? [id] : [];
  });

/** Where the first of the stop strings to be complete lies; of several that end at once, the longest. */
const firstStop = (
  text: string,
  stops: ReadonlyArray<string>,
): { readonly start: number; readonly end: number } | undefined => {
  let found: { readonly start: number; readonly end: number } | undefined;
  for (const stop of stops) {
    const start = text.indexOf(stop);
    const end = start + stop.length;
    if (start === -1) continue;
    if (found === undefined || end < found.end || (end === found.end && start < found.start)) found = { start, end };
  }
  return found;
};

/** How many characters at the end of the text may yet become a stop string. */
const begun = (text: string, stops: ReadonlyArray<string>): number => {
  const longest = Math.max(0, ...stops.map((stop) => stop.length - 1));
  for (let length = Math.min(longest, text.length); length > 0; length--) {
    const tail = text.slice(text.length - length);
    if (stops.some((stop) => stop.length > length && stop.startsWith(tail))) return length;
  }
  return 0;
};

export interface Stopping {
  /** None of them empty. */
  readonly stop: ReadonlyArray<string>;
  /** Whether the stop string is given, as transformers does, or left out. */
  readonly includeStop: boolean;
}

/** A text up to the first stop string that it holds: with it, or without. */
export const untilStopText = (text: string, { stop, includeStop }: Stopping): string => {
  const found = firstStop(text, stop);
  return found === undefined ? text : text.slice(0, includeStop ? found.end : found.start);
};

interface Reading {
  /** What was read and not given, or what was given last: the beginning of a stop string may lie in it. */
  readonly kept: string;
  readonly piece: string;
  readonly ended: boolean;
}

const reading =
  ({ stop, includeStop }: Stopping) =>
  ({ kept }: Reading, piece: string): Reading => {
    const text = kept + piece;
    const found = firstStop(text, stop);
    const given = includeStop ? kept.length : 0;
    if (found !== undefined) {
      return { kept: '', piece: text.slice(given, includeStop ? found.end : found.start), ended: true };
    }
    const open = text.length - begun(text, stop);
    return { kept: text.slice(open), piece: text.slice(given, includeStop ? text.length : open), ended: false };
  };

/**
 * The pieces of a text up to its first stop string, wherever the pieces are cut; then the source is left. Without the stop string,
 * what may become one is held back until it does not. Joined, the pieces are `untilStopText` of the joined source.
 */
export const untilStop =
  (stopping: Stopping) =>
  (pieces: Observable<string>): Observable<string> =>
    defer(() => {
      const read = reading(stopping);
      let state: Reading = { kept: '', piece: '', ended: false };
      return concat(
        pieces.pipe(
          map((piece) => (state = read(state, piece))),
          takeWhile(({ ended }) => !ended, true),
          map(({ piece }) => piece),
        ),
        defer(() => of(state.ended || stopping.includeStop ? '' : state.kept)),
      );
    });
