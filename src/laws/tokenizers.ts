import fc from 'fast-check';
import { known } from '../checked.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';

/** Special tokens of `wordTokenizer` and their ids: odd ones, so that a hard-coded 0 or 2 shows. */
export const specials = { '<pad>': 7, '<s>': 11, '</s>': 13, '<|start|>': 17, '<|end|>': 19 } as const;

/** What a word tokenizer adds, and how it cuts. */
export interface WordTokenizerOptions {
  /** Put BOS in front of every text that is to have special tokens. */
  readonly addBos?: boolean | undefined;
  /** Put EOS behind. */
  readonly addEos?: boolean | undefined;
  /** Cut words into pieces of at most this many characters. */
  readonly pieceLength?: number | undefined;
}

const marks = /<[^<>\s]+>/y;
const word = / ?[^\s<]+|\s|</y;

/** A word-level tokenizer: each word with the one space before it is a token, special tokens are cut out first. Learns words as it meets them. */
export const wordTokenizer = (options: WordTokenizerOptions = {}): Tokenizer => {
  const {
    addBos = false,
    addEos = false,
    pieceLength = 100,
  } = known('wordTokenizer', { addBos: 'optional', addEos: 'optional', pieceLength: 'optional' }, options);
  const ids = new Map<string, number>(Object.entries(specials));
  const words = new Map<number, string>(Object.entries(specials).map(([text, id]) => [id, text]));
  const idOf = (text: string): number => {
    const known = ids.get(text);
    if (known !== undefined) return known;
    const id = 20 + ids.size;
    ids.set(text, id);
    words.set(id, text);
    return id;
  };
  const encodeWithOffsets: Tokenizer['encodeWithOffsets'] = (text, { addSpecialTokens }) => {
    const out: Array<number> = [];
    const offsets: Array<number> = [];
    const add = (id: number, start: number, end: number): void => {
      out.push(id);
      offsets.push(start, end);
    };
    if (addSpecialTokens && addBos) add(specials['<s>'], 0, 0);
    for (let at = 0; at < text.length; ) {
      marks.lastIndex = at;
      const mark = marks.exec(text)?.[0];
      if (mark !== undefined && mark in specials) {
        add(idOf(mark), at, at + mark.length);
        at += mark.length;
        continue;
      }
      word.lastIndex = at;
      const piece = word.exec(text)?.[0].slice(0, pieceLength) ?? text.charAt(at);
      add(idOf(piece), at, at + piece.length);
      at += piece.length;
    }
    if (addSpecialTokens && addEos) add(specials['</s>'], text.length, text.length);
    return { ids: Int32Array.from(out), offsets: Int32Array.from(offsets) };
  };
  return {
    encode: (text, options) => encodeWithOffsets(text, options).ids,
    encodeWithOffsets,
    decode: (tokens) => Array.from(tokens, (id) => words.get(id) ?? '?').join(''),
    tokenToId: (token) => ids.get(token),
    idToToken: (id) => words.get(id),
    vocabSize: 100_000,
    bosTokenId: specials['<s>'],
    eosTokenId: specials['</s>'],
    padTokenId: specials['<pad>'],
    bosToken: '<s>',
    eosToken: '</s>',
    padToken: '<pad>',
    path: 'own',
    files: {},
  };
};

/** Tokenizers of every habit: with BOS, EOS or neither, words in pieces or whole. */
export const wordTokenizers = (): fc.Arbitrary<Tokenizer> =>
  fc
    .record({ addBos: fc.boolean(), addEos: fc.boolean(), pieceLength: fc.constantFrom(1, 2, 3, 100) })
    .map(wordTokenizer);
