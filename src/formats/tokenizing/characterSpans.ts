/** Where the tokens of character BPE lie in their text. */
import { codePointAt } from './codePoints.js';
import type { TokenModel } from './tokenModel.js';
import { utf8Size } from './utf8Bytes.js';

/** What character BPE makes of characters before it merges them. */
export interface Characters {
  /** The id of a code point, or -1. */
  readonly idOf: (code: number) => number;
  /** UTF-16 units of a code point. */
  readonly widthOf: (code: number) => number;
  /** Whether the character at `at`, of so many units, becomes the tokens of its bytes. */
  readonly fallsBack: (units: Uint16Array, at: number, width: number) => boolean;
  /** The id of an unknown character, or -1 where unknown ones leave none. */
  readonly unk: number;
  /** Whether unknown characters side by side are one token. */
  readonly fuseUnk: boolean;
}

/** What there is to know of the token of each id. */
export interface CharacterTokens {
  /** UTF-16 units. */
  readonly unitLength: Int32Array;
  /** 1 for the token of a byte. */
  readonly isByte: Uint8Array;
}

export const characterSpans =
  (
    { idOf, widthOf, fallsBack, unk, fuseUnk }: Characters,
    { unitLength, isByte }: CharacterTokens,
  ): TokenModel['spans'] =>
  ({ units }, from, to, out, first, sink) => {
    const unknownAt = (at: number): boolean => {
      if (at >= to) return false;
      const code = codePointAt(units, at);
      return idOf(code) < 0 && !fallsBack(units, at, widthOf(code));
    };
    let at = from;
    let bytesDone = 0;
    for (let k = first; k < out.length; k++) {
      const id = out.data[k] ?? 0;
      const last = k === out.length - 1;
      const start = at;
      // Without an unk token, unknown characters leave no id; they belong to the next token.
      if (unk < 0) while (unknownAt(at)) at += widthOf(codePointAt(units, at));
      const code = at < to ? codePointAt(units, at) : 0;
      if (isByte[id] === 1 && idOf(code) < 0) {
        const end = at + widthOf(code);
        if (++bytesDone === utf8Size(code)) {
          at = end;
          bytesDone = 0;
        }
        sink(start, last && unk < 0 ? to : end);
      } else if (id === unk && unknownAt(at)) {
        do at += widthOf(codePointAt(units, at));
        while (fuseUnk && unknownAt(at));
        sink(start, at);
      } else {
        at += unitLength[id] ?? 0;
        sink(start, last && unk < 0 ? to : at);
      }
    }
  };
