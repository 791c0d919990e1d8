/** Ids as they come → the text they make, piece by piece. */
import { concat, defer, map, of, type Observable } from 'rxjs';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';

/** From so many ids on the window over them is to begin later, so many ids before its end. */
const windowLength = 32;
const overlap = 8;

/** A token that stands for one byte where the vocabulary lacks a character: what a run of them is, only its end tells. */
const byteToken = /^<0x[0-9A-Fa-f]{2}>$/;

/**
 * The whole text of each prefix of a stream of ids, as pieces: what a further id adds, once no character in it is unfinished.
 * Joined, they are the decoded text of all ids.
 *
 * Decoded is a window of the last ids, not all of them for each further one. Where it begins, the text is another one (the first token
 * loses its blank, and such), but by the same for all that follows, so that counting characters from the window's beginning is enough.
 */
export const decodePieces =
  (tokenizer: Pick<Tokenizer, 'decode' | 'idToToken'>) =>
  (ids: Observable<number>): Observable<string> =>
    defer(() => {
      const decode = (some: ReadonlyArray<number>): string => tokenizer.decode(some, { skipSpecialTokens: true });
      let window: ReadonlyArray<number> = [];
      /** How much of the window's text has been told, in characters. */
      let told = 0;
      /** Whether that is all of it, and ends no unfinished character. */
      let isWhole = true;
      /** Where in the window one may begin. */
      let start: number | undefined;

      /** Shown, and neither a piece of a character nor of a run of bytes: what comes before it changes nothing behind it. */
      const mayBegin = (id: number): boolean => {
        const token = tokenizer.idToToken(id);
        if (token === undefined || byteToken.test(token)) return false;
        const text = decode([id]);
        return text !== '' && !text.includes('\ufffd');
      };
      const moveWindow = (text: string): void => {
        if (!isWhole || start === undefined || window.length - start < overlap) return;
        const later = window.slice(start);
        start = undefined;
        const laterText = decode(later);
        const behindFirst = laterText.slice(decode(later.slice(0, 1)).length);
        if (!text.endsWith(behindFirst)) return;
        window = later;
        told = laterText.length;
      };
      const piece = (text: string, finished: boolean): string => {
        // Bytes of an unfinished character decode to U+FFFD: they wait for the ids to come.
        const settled = finished ? text : text.replace(/\ufffd+$/, '');
        const further = settled.slice(told);
        if (further !== '') told = settled.length;
        isWhole = settled.length === text.length && told === text.length;
        return further;
      };
      return concat(
        ids.pipe(
          map((id) => {
            if (start === undefined && window.length >= windowLength - overlap && mayBegin(id)) start = window.length;
            window = [...window, id];
            const text = decode(window);
            const further = piece(text, false);
            moveWindow(text);
            return further;
          }),
        ),
        defer(() => of(piece(decode(window), true))),
      );
    });
