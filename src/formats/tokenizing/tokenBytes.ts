/** The bytes that tokens of the byte alphabet stand for. */
import { byteOfCharacter } from './byteAlphabet.js';
import type { EachToken } from './byteBorders.js';
import type { Vocabulary } from './vocabulary.js';

/** A token's bytes; undefined for a token with another character. */
export const bytesOfToken = (token: string): ReadonlyArray<number> | undefined => {
  const result: number[] = [];
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    result.push(byte);
  }
  return result;
};

/** Calls back with each token that stands for bytes, in the first `length` of an array that is used again. */
export const eachTokenBytes =
  (vocab: Vocabulary): EachToken =>
  (visit) => {
    let bytes = new Uint8Array(64);
    vocab.each((units, from, to) => {
      if (bytes.length < to - from) bytes = new Uint8Array(2 * (to - from));
      for (let i = from; i < to; i++) {
        const byte = byteOfCharacter[units[i] ?? 0] ?? -1;
        if (byte < 0) return;
        bytes[i - from] = byte;
      }
      visit(bytes, to - from);
    });
  };
