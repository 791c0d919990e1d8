/**
 * Byte-pair encoding on ids: a numeric merge table, a table of words seen before, no token strings. Equal to the BPE model of
 * the `tokenizers` library, without dropout, suffixes and prefixes of subwords.
 */
import { byteOfCharacter, characterOfByte } from './byteAlphabet.js';
import { type ByteBorders, type EachToken, makeByteBorders } from './byteBorders.js';
import { type IdBuffer, pushId } from './idBuffer.js';
import { mergeSymbols } from './mergeSymbols.js';
import { makeMergeTable, type MergeTable } from './mergeTable.js';
import type { Source, TokenModel } from './tokenModel.js';
import type { Vocabulary } from './vocabulary.js';
import { makeWordTable } from './wordTable.js';

export interface BpeConfig {
  readonly vocab: Vocabulary;
  readonly unkToken?: string;
  readonly fuseUnk: boolean;
  readonly byteFallback: boolean;
  readonly ignoreMerges: boolean;
}

/** The merge table, or the first merge whose parts or result the vocabulary lacks. */
export const mergesOf = (
  vocab: Vocabulary,
  merges: ReadonlyArray<readonly [string, string]>,
): MergeTable | { readonly missing: string } => {
  const parts = new Int32Array(merges.length * 3);
  let at = 0;
  for (const [a, b] of merges) {
    const left = vocab.get(a);
    const right = vocab.get(b);
    const merged = vocab.get(a + b);
    if (left === undefined || right === undefined || merged === undefined) return { missing: `${a} ${b}` };
    parts[at++] = left;
    parts[at++] = right;
    parts[at++] = merged;
  }
  return makeMergeTable(parts);
};

let symbols = new Int32Array(256);

const reserve = (count: number): void => {
  if (symbols.length < count) symbols = new Int32Array(count * 2);
};

/** Where a model's `encode` begins: the table of known words before the work. */
const remembering = (
  /** Leaves the ids in `symbols`, returns how many. */
  work: (source: Source, from: number, to: number) => number,
): TokenModel['encode'] => {
  const table = makeWordTable();
  return (source, from, to, out) => {
    const { units } = source;
    const hash = table.hash(units, from, to);
    if (table.push(units, from, to, hash, out)) return;
    const count = work(source, from, to);
    table.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };
};

const isHigh = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLow = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

const codePoint = (units: Uint16Array, at: number): number => {
  const unit = units[at] ?? 0;
  return isHigh(unit) ? 0x10000 + ((unit - 0xd800) << 10) + ((units[at + 1] ?? 0) - 0xdc00) : unit;
};

const utf8Size = (code: number): number => (code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x10000 ? 3 : 4);

/** Calls back with each UTF-8 byte of the units. */
const eachByte = (units: Uint16Array, from: number, to: number, take: (byte: number) => void): void => {
  for (let i = from; i < to; i++) {
    const code = codePoint(units, i);
    if (code < 0x80) {
      take(code);
    } else if (code < 0x800) {
      take(0xc0 | (code >> 6));
      take(0x80 | (code & 63));
    } else if (code < 0x10000) {
      take(0xe0 | (code >> 12));
      take(0x80 | ((code >> 6) & 63));
      take(0x80 | (code & 63));
    } else {
      take(0xf0 | (code >> 18));
      take(0x80 | ((code >> 12) & 63));
      take(0x80 | ((code >> 6) & 63));
      take(0x80 | (code & 63));
      i++;
    }
  }
};

/** Hands runs of bytes, `lengthOf(k)` for the k-th, to the sink as ranges of units: whole characters, whatever part it is. */
const walkBytes = (
  units: Uint16Array,
  from: number,
  to: number,
  count: number,
  lengthOf: (k: number) => number,
  sink: (start: number, end: number) => void,
): void => {
  let at = from;
  /** Bytes of the character at `at` that are handed out already. */
  let used = 0;
  for (let k = 0; k < count; k++) {
    let left = lengthOf(k);
    const start = at;
    let end = at;
    while (left > 0 && at < to) {
      const code = codePoint(units, at);
      const size = utf8Size(code);
      const next = at + (code < 0x10000 ? 1 : 2);
      end = next;
      const taken = Math.min(left, size - used);
      left -= taken;
      used += taken;
      if (used === size) {
        at = next;
        used = 0;
      }
    }
    sink(start, end);
  }
};

/** A token of the byte alphabet as bytes; undefined for a token with another character. */
export const bytesOfToken = (token: string): ReadonlyArray<number> | undefined => {
  const result: number[] = [];
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    result.push(byte);
  }
  return result;
};

const utf8Known = new Map<number, ReadonlyArray<number>>();

const utf8Of = (code: number): ReadonlyArray<number> => {
  let known = utf8Known.get(code);
  if (known === undefined) {
    known = Array.from(new TextEncoder().encode(String.fromCodePoint(code)));
    utf8Known.set(code, known);
  }
  return known;
};

/** Calls back with each token that stands for bytes, in the first `length` of an array that is used again. */
const eachTokenBytes =
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

/** Wide words longer than this many units are cut into parts: whole, they would hardly be seen again. */
const shortWord = 3;
/** So are words of any kind longer than this. */
const longWord = 32;

const isWide = (units: Uint16Array, from: number, to: number): boolean => {
  for (let i = from; i < to; i++) if ((units[i] ?? 0) >= 0x800) return true;
  return false;
};

const isAscii = (units: Uint16Array, from: number, to: number): boolean => {
  let all = 0;
  for (let i = from; i < to; i++) all |= units[i] ?? 0;
  return all < 0x80;
};

/** How many bytes of a text each of `count` tokens covers: dropped ones belong to the token behind them, those at the end to the last. */
const lengthsWithDropped = (
  /** Of each byte, whether a token stands for it. */
  kept: ReadonlyArray<boolean>,
  count: number,
  lengthOf: (k: number) => number,
): ReadonlyArray<number> => {
  const lengths: Array<number> = [];
  let at = 0;
  for (let k = 0; k < count; k++) {
    let left = lengthOf(k);
    const start = at;
    while (at < kept.length && left > 0) if (kept[at++] === true) left--;
    lengths.push((k === count - 1 ? kept.length : at) - start);
  }
  return lengths;
};

/** Where tokens of so many bytes each (by id) lie in their text; a byte without an id has been dropped. */
const byteSpans = (byteLength: Int32Array, idOfByte: Int32Array): TokenModel['spans'] => {
  const complete = idOfByte.every((id) => id >= 0);
  return ({ units }, from, to, out, first, sink) => {
    const count = out.length - first;
    const { data } = out;
    const lengthOf = (k: number): number => byteLength[data[first + k] ?? 0] ?? 0;
    if (!complete) {
      const kept: Array<boolean> = [];
      eachByte(units, from, to, (byte) => {
        kept.push((idOfByte[byte] ?? -1) >= 0);
      });
      const lengths = lengthsWithDropped(kept, count, lengthOf);
      walkBytes(units, from, to, count, (k) => lengths[k] ?? 0, sink);
    } else if (isAscii(units, from, to)) {
      let at = from;
      for (let k = first; k < out.length; k++) {
        const end = at + (byteLength[data[k] ?? 0] ?? 0);
        sink(at, end);
        at = end;
      }
    } else walkBytes(units, from, to, count, lengthOf, sink);
  };
};

/** BPE behind a `ByteLevel` pre-tokeniser: symbols are bytes. Undefined when bytes are missing that would become `unk`. */
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
    reserve((to - from) * 3);
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
    parts.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };

  /** A word of wide characters, cut where no token reaches over the border. */
  const encodeParts = (units: Uint16Array, from: number, to: number, out: IdBuffer): void => {
    const { joins } = bordersOf();
    let start = from;
    let before: ReadonlyArray<number> = [];
    for (let at = from; at < to; ) {
      const after = utf8Of(codePoint(units, at));
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
      reserve(1);
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
    words.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };

  return { encode, spans: byteSpans(byteLength, idOfByte) };
};

/** `<0x41>`, the token of a byte under byte fallback. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

const pairBits = 22;

/**
 * Where a text may be cut without changing any id: between two units that stand side by side in no token, so that no merge
 * can reach over the border. (A hashed set of pairs: a false hit only means one cut less.) Not where unknown characters
 * could be fused over the border, and not inside a character.
 */
const scanByPairs = (vocab: Vocabulary): NonNullable<TokenModel['scan']> => {
  const pairs = new Uint8Array(1 << (pairBits - 3));
  const place = (a: number, b: number): number =>
    (Math.imul(a, 0x9e3779b1) ^ Math.imul(b, 0x85ebca6b)) >>> (32 - pairBits);
  vocab.each((units, from, to) => {
    for (let i = from; i + 1 < to; i++) {
      const bit = place(units[i] ?? 0, units[i + 1] ?? 0);
      pairs[bit >> 3] = (pairs[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  });
  return (units, at, end) => {
    let before = units[at] ?? 0;
    for (let i = at + 1; i < end; i++) {
      const unit = units[i] ?? 0;
      const bit = place(before, unit);
      if (((pairs[bit >> 3] ?? 0) & (1 << (bit & 7))) === 0 && !isHigh(before)) return i;
      before = unit;
    }
    return end;
  };
};

/** BPE on characters, SentencePiece style: unknown characters become byte tokens, or `unk`, or nothing. */
export const characterBpe = (config: BpeConfig, table: MergeTable): TokenModel => {
  const { vocab, unkToken, fuseUnk, byteFallback, ignoreMerges } = config;
  const unk = unkToken === undefined ? -1 : (vocab.get(unkToken) ?? -1);
  const largest = vocab.largestId;
  const idOfUnit = new Int32Array(0x10000).fill(-1);
  const idOfAstral = new Map<number, number>();
  const unitLength = new Int32Array(largest + 1);
  vocab.each((units, from, to, id) => {
    unitLength[id] = to - from;
    if (to - from === 1) idOfUnit[units[from] ?? 0] = id;
    else if (to - from === 2 && isHigh(units[from] ?? 0) && isLow(units[from + 1] ?? 0)) {
      idOfAstral.set(codePoint(units, from), id);
    }
  });
  const idOfByte = Int32Array.from({ length: 256 }, (_, byte) =>
    byteFallback ? (vocab.get(byteToken(byte)) ?? -1) : -1,
  );
  const everyByte = idOfByte.every((id) => id >= 0);
  const isByte = new Uint8Array(largest + 1);
  for (const id of idOfByte) if (id >= 0) isByte[id] = 1;
  const idOf = (code: number): number => (code < 0x10000 ? (idOfUnit[code] ?? -1) : (idOfAstral.get(code) ?? -1));
  const widthOf = (code: number): number => (code < 0x10000 ? 1 : 2);
  const fallsBack = (units: Uint16Array, at: number, width: number): boolean => {
    if (!byteFallback) return false;
    let all = true;
    eachByte(units, at, at + width, (byte) => {
      all &&= (idOfByte[byte] ?? -1) >= 0;
    });
    return all;
  };

  const encode = remembering(({ text, units }, from, to) => {
    reserve((to - from) * 4);
    if (ignoreMerges) {
      const whole = vocab.get(text.slice(from, to));
      if (whole !== undefined) {
        symbols[0] = whole;
        return 1;
      }
    }
    let count = 0;
    let afterUnknown = false;
    for (let i = from; i < to; ) {
      const code = codePoint(units, i);
      const width = widthOf(code);
      const id = idOf(code);
      if (id >= 0) {
        symbols[count++] = id;
        afterUnknown = false;
      } else if (fallsBack(units, i, width)) {
        eachByte(units, i, i + width, (byte) => {
          symbols[count++] = idOfByte[byte] ?? 0;
        });
        afterUnknown = false;
      } else if (unk >= 0) {
        if (!(afterUnknown && fuseUnk)) symbols[count++] = unk;
        afterUnknown = true;
      }
      i += width;
    }
    return mergeSymbols(table, symbols, count);
  });

  const spans: TokenModel['spans'] = ({ units }, from, to, out, first, sink) => {
    const unknownAt = (at: number): boolean => {
      if (at >= to) return false;
      const code = codePoint(units, at);
      return idOf(code) < 0 && !fallsBack(units, at, widthOf(code));
    };
    let at = from;
    let bytesDone = 0;
    for (let k = first; k < out.length; k++) {
      const id = out.data[k] ?? 0;
      const last = k === out.length - 1;
      const start = at;
      // Without an unk token, unknown characters leave no id; they belong to the next token.
      if (unk < 0) while (unknownAt(at)) at += widthOf(codePoint(units, at));
      const code = at < to ? codePoint(units, at) : 0;
      if (isByte[id] === 1 && idOf(code) < 0) {
        const end = at + widthOf(code);
        if (++bytesDone === utf8Size(code)) {
          at = end;
          bytesDone = 0;
        }
        sink(start, last && unk < 0 ? to : end);
      } else if (id === unk && unknownAt(at)) {
        do at += widthOf(codePoint(units, at));
        while (fuseUnk && unknownAt(at));
        sink(start, at);
      } else {
        at += unitLength[id] ?? 0;
        sink(start, last && unk < 0 ? to : at);
      }
    }
  };
  return { encode, spans, ...(everyByte && !ignoreMerges ? { scan: scanByPairs(vocab) } : {}) };
};
