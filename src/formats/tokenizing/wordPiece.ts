/** WordPiece: the longest piece of the vocabulary again and again; a word that does not divide so is one `unk`. */
import { pushId } from './idBuffer.js';
import type { TokenModel } from './tokenModel.js';
import type { Vocabulary } from './vocabulary.js';

export interface WordPieceConfig {
  readonly vocab: Pick<Vocabulary, 'get'>;
  readonly unkToken: string;
  readonly prefix: string;
  /** Words of more characters (code points) are unknown. */
  readonly longest: number;
}

export const wordPiece = ({ vocab, unkToken, prefix, longest }: WordPieceConfig): TokenModel | undefined => {
  const unk = vocab.get(unkToken);
  if (unk === undefined) return undefined;
  const divide = (word: string): ReadonlyArray<readonly [id: number, start: number, end: number]> => {
    const whole = [[unk, 0, word.length]] as const;
    const borders = [0];
    for (const character of word) borders.push((borders.at(-1) ?? 0) + character.length);
    const count = borders.length - 1;
    if (count > longest) return whole;
    const result: (readonly [number, number, number])[] = [];
    let at = 0;
    while (at < count) {
      const start = borders[at] ?? 0;
      let end = count;
      let id: number | undefined;
      for (; end > at; end--) {
        const piece = word.slice(start, borders[end]);
        id = vocab.get(at > 0 ? prefix + piece : piece);
        if (id !== undefined) break;
      }
      if (id === undefined) return whole;
      result.push([id, start, borders[end] ?? 0]);
      at = end;
    }
    return result;
  };
  return {
    encode: ({ text }, from, to, out) => {
      for (const [id] of divide(text.slice(from, to))) pushId(out, id);
    },
    spans: ({ text }, from, to, _out, _first, sink) => {
      for (const [, start, end] of divide(text.slice(from, to))) sink(from + start, from + end);
    },
  };
};
