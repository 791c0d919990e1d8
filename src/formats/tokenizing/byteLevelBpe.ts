/** BPE behind a `ByteLevel` pre-tokeniser: symbols are bytes. */
import type { BpeConfig } from './bpeConfig.js';
import { characterOfByte } from './byteAlphabet.js';
import { type ByteBorders, makeByteBorders } from './byteBorders.js';
import { byteSpans } from './byteSpans.js';
import { codePointAt } from './codePoints.js';
import { type IdBuffer, pushId } from './idBuffer.js';
import { mergeSymbols } from './mergeSymbols.js';
import type { MergeTable } from './mergeTable.js';
import { lastSymbols, symbolsFor } from './symbols.js';
import { eachTokenBytes } from './tokenBytes.js';
import type { TokenModel } from './tokenModel.js';
import { eachByte, utf8Of } from './utf8Bytes.js';
import { makeWordTable } from './wordTable.js';

/** Wide words longer than this many units are cut into parts: whole, they would hardly be seen again. */
const shortWord = 3;
/** So are words of any kind longer than this. */
const longWord = 32;

const isWide = (units: Uint16Array, from: number, to: number): boolean => {
  for (let i = from; i < to; i++) if ((units[i] ?? 0) >= 0x800) return true;
  return false;
};

/** Undefined when bytes are missing that would become `unk`. */
export const byteLevelBpe = (config: BpeConfig, table: MergeTable): TokenModel | undefined => {
  const { vocab, ignoreMerges, unkToken } = config;
  const idOfByte = Int32Array.from(characterOfByte, (character) => vocab.get(character) ?? -1);
  const complete = idOfByte.every((id) => id >= 0);
  if (!complete && unkToken !== undefined && vocab.get(unkToken) !== undefined) return undefined;
  const byteLength = new Int32Array(vocab.largestId + 1);
  let longest = 0;
  vocab.each((_, from, to, id) => {
    byteLength[id] = to - from;
    longest = Math.max(longest, to - from);
  });

  const wholeWord = (units: Uint16Array, from: number, to: number): number => {
    if (to - from > longest) return -1;
    let mapped = '';
    eachByte(units, from, to, (byte) => {
      mapped += characterOfByte[byte] ?? '';
    });
    return vocab.get(mapped) ?? -1;
  };

  const merge = (units: Uint16Array, from: number, to: number): number => {
    const symbols = symbolsFor((to - from) * 3);
    let count = 0;
    let at = from;
    // A byte that the alphabet lacks is dropped, as the library drops it.
    for (; at < to; at++) {
      const unit = units[at] ?? 0;
      if (unit >= 0x80) break;
      const id = idOfByte[unit] ?? -1;
      if (id >= 0) symbols[count++] = id;
    }
    eachByte(units, at, to, (byte) => {
      const id = idOfByte[byte] ?? -1;
      if (id >= 0) symbols[count++] = id;
    });
    return mergeSymbols(table, symbols, count);
  };

  let borders: ByteBorders | undefined;
  const bordersOf = (): ByteBorders => {
    borders ??= makeByteBorders(eachTokenBytes(vocab));
    return borders;
  };
  const words = makeWordTable();
  // What is part of a longer word is never looked up whole, so with `ignore_merges` its ids may differ from the word's.
  const parts = ignoreMerges ? makeWordTable() : words;

  const encodePart = (units: Uint16Array, from: number, to: number, out: IdBuffer): void => {
    const hash = parts.hash(units, from, to);
    if (parts.push(units, from, to, hash, out)) return;
    const count = merge(units, from, to);
    const symbols = lastSymbols();
    parts.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };

  /** A word of wide characters, cut where no token reaches over the border. */
  const encodeParts = (units: Uint16Array, from: number, to: number, out: IdBuffer): void => {
    const { joins } = bordersOf();
    let start = from;
    let before: ReadonlyArray<number> = [];
    for (let at = from; at < to; ) {
      const after = utf8Of(codePointAt(units, at));
      if (at > start && !joins(before, after)) {
        encodePart(units, start, at, out);
        start = at;
      }
      before = after;
      at += after.length === 4 ? 2 : 1;
    }
    encodePart(units, start, to, out);
  };

  const encode: TokenModel['encode'] = ({ units }, from, to, out) => {
    const hash = words.hash(units, from, to);
    if (words.push(units, from, to, hash, out)) return;
    const whole = ignoreMerges ? wholeWord(units, from, to) : -1;
    if (whole >= 0) {
      const symbols = symbolsFor(1);
      symbols[0] = whole;
      words.store(units, from, to, hash, symbols, 1);
      pushId(out, whole);
      return;
    }
    if (to - from > shortWord && (to - from > longWord || isWide(units, from, to))) {
      encodeParts(units, from, to, out);
      return;
    }
    const count = merge(units, from, to);
    const symbols = lastSymbols();
    words.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };

  return { encode, spans: byteSpans(byteLength, idOfByte) };
};
