/**
 * Byte-pair encoding on ids: a numeric merge table, a cache on raw words, no token strings. Equal to the BPE model of the
 * `tokenizers` library, without dropout, suffixes and prefixes of subwords.
 */
import { byteOfCharacter, characterOfByte, utf8Length, writeUtf8 } from './byteAlphabet.js';
import type { IdBuffer } from './idBuffer.js';
import { mergeSymbols } from './mergeSymbols.js';
import { makeMergeTable, type MergeTable } from './mergeTable.js';
import type { TokenModel } from './tokenModel.js';
import { makeWordCache } from './wordCache.js';

export interface BpeConfig {
  readonly vocab: ReadonlyMap<string, number>;
  readonly merges: ReadonlyArray<readonly [string, string]>;
  readonly unkToken?: string;
  readonly fuseUnk: boolean;
  readonly byteFallback: boolean;
  readonly ignoreMerges: boolean;
}

/** The merge table, or the first merge whose parts or result the vocabulary lacks. */
export const mergesOf = ({ vocab, merges }: BpeConfig): MergeTable | { readonly missing: string } => {
  const entries: { left: number; right: number; merged: number }[] = [];
  for (const [a, b] of merges) {
    const left = vocab.get(a);
    const right = vocab.get(b);
    const merged = vocab.get(a + b);
    if (left === undefined || right === undefined || merged === undefined) return { missing: `${a} ${b}` };
    entries.push({ left, right, merged });
  }
  return makeMergeTable(entries);
};

let symbols = new Int32Array(256);
let bytes = new Uint8Array(256);

const reserve = (count: number): void => {
  if (symbols.length < count) symbols = new Int32Array(count * 2);
  if (bytes.length < count) bytes = new Uint8Array(count * 2);
};

/** Where a byte lies, as the UTF-16 range of its character: calls `sink(start, end)` for each run of `lengths` bytes. */
const walkBytes = (
  word: string,
  count: number,
  lengthOf: (index: number) => number,
  sink: (start: number, end: number) => void,
): void => {
  // `unit` is the character that holds byte number `at - 1` behind `unit`'s first byte.
  let unit = 0;
  let unitBytes = 0;
  let units = 0;
  const measure = (): void => {
    const code = word.charCodeAt(unit);
    units = code >= 0xd800 && code <= 0xdbff ? 2 : 1;
    unitBytes = units === 2 ? 4 : code < 0x80 ? 1 : code < 0x800 ? 2 : 3;
  };
  let inside = 0;
  if (word.length > 0) measure();
  for (let k = 0; k < count; k++) {
    let left = lengthOf(k);
    if (inside === unitBytes && unit + units < word.length) {
      unit += units;
      inside = 0;
      measure();
    }
    const start = unit;
    while (left > 0) {
      if (inside === unitBytes) {
        unit += units;
        inside = 0;
        if (unit >= word.length) break;
        measure();
      }
      const step = Math.min(left, unitBytes - inside);
      inside += step;
      left -= step;
    }
    sink(start, Math.min(unit + units, word.length));
  }
};

/** BPE behind a `ByteLevel` pre-tokeniser: symbols are bytes. Undefined when bytes are missing that would become `unk`. */
export const byteLevelBpe = (config: BpeConfig, table: MergeTable): TokenModel | undefined => {
  const { vocab, ignoreMerges, unkToken } = config;
  const idOfByte = Int32Array.from(characterOfByte, (character) => vocab.get(character) ?? -1);
  const complete = idOfByte.every((id) => id >= 0);
  if (!complete && unkToken !== undefined && vocab.has(unkToken)) return undefined;
  let largest = 0;
  for (const id of vocab.values()) largest = Math.max(largest, id);
  const byteLength = new Int32Array(largest + 1);
  for (const [token, id] of vocab) byteLength[id] = token.length;
  const cache = makeWordCache();

  const mapped = (word: string): string => {
    reserve(word.length * 3);
    const count = writeUtf8(word, bytes);
    let text = '';
    for (let i = 0; i < count; i++) text += characterOfByte[bytes[i] ?? 0] ?? '';
    return text;
  };

  const encode = (word: string, out: IdBuffer): void => {
    if (cache.push(word, out)) return;
    reserve(word.length * 3);
    if (ignoreMerges) {
      const whole = vocab.get(mapped(word));
      if (whole !== undefined) {
        symbols[0] = whole;
        cache.store(word, symbols, 1);
        out.push(whole);
        return;
      }
    }
    const count = writeUtf8(word, bytes);
    let n = 0;
    for (let i = 0; i < count; i++) {
      const id = idOfByte[bytes[i] ?? 0] ?? -1;
      // A byte that the alphabet lacks is dropped, as the library drops it.
      if (id >= 0) symbols[n++] = id;
    }
    n = mergeSymbols(table, symbols, n);
    cache.store(word, symbols, n);
    for (let i = 0; i < n; i++) out.push(symbols[i] ?? 0);
  };

  const spans: TokenModel['spans'] = (word, ids, from, sink) => {
    const count = ids.length() - from;
    if (complete) {
      walkBytes(word, count, (k) => byteLength[ids.at(from + k)] ?? 0, sink);
      return;
    }
    // Dropped bytes belong to the token behind them (the last one's to the token before).
    reserve(word.length * 3);
    const total = writeUtf8(word, bytes);
    let at = 0;
    const lengths: number[] = [];
    for (let k = 0; k < count; k++) {
      let left = byteLength[ids.at(from + k)] ?? 0;
      const start = at;
      while (at < total && left > 0) if ((idOfByte[bytes[at++] ?? 0] ?? -1) >= 0) left--;
      lengths.push((k === count - 1 ? total : at) - start);
    }
    walkBytes(word, count, (k) => lengths[k] ?? 0, sink);
  };
  return { encode, spans };
};

/** Every token that ends inside the byte alphabet as bytes; undefined for a token with another character. */
export const bytesOfToken = (token: string): ReadonlyArray<number> | undefined => {
  const result: number[] = [];
  for (let i = 0; i < token.length; i++) {
    const byte = byteOfCharacter[token.charCodeAt(i)] ?? -1;
    if (byte < 0) return undefined;
    result.push(byte);
  }
  return result;
};

/** `<0x41>`, the token of a byte under byte fallback. */
export const byteToken = (byte: number): string => `<0x${byte.toString(16).toUpperCase().padStart(2, '0')}>`;

const codeUnits = 0x10000;

/** BPE on characters, SentencePiece style: unknown characters become byte tokens, or `unk`, or nothing. */
export const characterBpe = (config: BpeConfig, table: MergeTable): TokenModel => {
  const { vocab, unkToken, fuseUnk, byteFallback, ignoreMerges } = config;
  const unk = unkToken === undefined ? -1 : (vocab.get(unkToken) ?? -1);
  const idOfUnit = new Int32Array(codeUnits).fill(-1);
  const idOfAstral = new Map<number, number>();
  const idOfByte = Int32Array.from({ length: 256 }, (_, byte) =>
    byteFallback ? (vocab.get(byteToken(byte)) ?? -1) : -1,
  );
  let largest = 0;
  for (const id of vocab.values()) largest = Math.max(largest, id);
  const unitLength = new Int32Array(largest + 1);
  for (const [token, id] of vocab) {
    unitLength[id] = token.length;
    const code = token.codePointAt(0) ?? 0;
    if (token.length === 1) idOfUnit[code] = id;
    else if (token.length === 2 && code >= codeUnits) idOfAstral.set(code, id);
  }
  const isByte = new Uint8Array(largest + 1);
  for (const id of idOfByte) if (id >= 0) isByte[id] = 1;
  const idOf = (code: number): number => (code < codeUnits ? (idOfUnit[code] ?? -1) : (idOfAstral.get(code) ?? -1));
  const scratch = new Uint8Array(4);
  /** How many bytes the fallback gives the character; 0 when one of them has no token. Their ids are in `fallbackIds`. */
  const fallbackIds = new Int32Array(4);
  const fallback = (character: string): number => {
    if (!byteFallback) return 0;
    const count = writeUtf8(character, scratch);
    for (let i = 0; i < count; i++) {
      const id = idOfByte[scratch[i] ?? 0] ?? -1;
      if (id < 0) return 0;
      fallbackIds[i] = id;
    }
    return count;
  };
  const cache = makeWordCache();

  const encode = (word: string, out: IdBuffer): void => {
    if (cache.push(word, out)) return;
    if (ignoreMerges) {
      const whole = vocab.get(word);
      if (whole !== undefined) {
        reserve(1);
        symbols[0] = whole;
        cache.store(word, symbols, 1);
        out.push(whole);
        return;
      }
    }
    reserve(word.length * 4);
    let n = 0;
    let afterUnknown = false;
    for (let i = 0; i < word.length; i++) {
      const code = word.codePointAt(i) ?? 0;
      const id = idOf(code);
      const units = code < codeUnits ? 1 : 2;
      if (id >= 0) {
        symbols[n++] = id;
        afterUnknown = false;
      } else {
        const count = fallback(word.slice(i, i + units));
        for (let k = 0; k < count; k++) symbols[n++] = fallbackIds[k] ?? 0;
        if (count === 0 && unk >= 0 && !(afterUnknown && fuseUnk)) symbols[n++] = unk;
        afterUnknown = count === 0 && unk >= 0;
      }
      i += units - 1;
    }
    n = mergeSymbols(table, symbols, n);
    cache.store(word, symbols, n);
    for (let i = 0; i < n; i++) out.push(symbols[i] ?? 0);
  };

  const unitsAt = (word: string, i: number): number => ((word.codePointAt(i) ?? 0) < codeUnits ? 1 : 2);
  const unknownAt = (word: string, i: number): boolean =>
    i < word.length && idOf(word.codePointAt(i) ?? 0) < 0 && fallback(word.slice(i, i + unitsAt(word, i))) === 0;

  const spans: TokenModel['spans'] = (word, ids, from, sink) => {
    const count = ids.length() - from;
    let at = 0;
    let bytesDone = 0;
    for (let k = 0; k < count; k++) {
      const id = ids.at(from + k);
      // Without an unk token, unknown characters leave no id; they belong to the next token.
      const start = at;
      if (unk < 0) while (unknownAt(word, at)) at += unitsAt(word, at);
      if (isByte[id] === 1 && idOf(word.codePointAt(at) ?? 0) < 0) {
        const units = unitsAt(word, at);
        sink(start, at + units);
        if (++bytesDone === utf8Length(word.slice(at, at + units))) {
          at += units;
          bytesDone = 0;
        }
      } else if (id === unk && unknownAt(word, at)) {
        do at += unitsAt(word, at);
        while (fuseUnk && unknownAt(word, at));
        sink(start, at);
      } else {
        at += unitLength[id] ?? 0;
        sink(start, k === count - 1 ? word.length : at);
      }
    }
  };
  return { encode, spans };
};

/**
 * Whether a text may be cut before each `mark` that follows another character without changing any id: no entry of the
 * vocabulary holds the mark behind another character, so no merge reaches over such a border, and the mark itself is known.
 */
export const cutsBefore = (mark: string, { vocab, ignoreMerges, unkToken }: BpeConfig): boolean => {
  if (ignoreMerges || !vocab.has(mark)) return false;
  for (const token of vocab.keys()) {
    const at = token.lastIndexOf(mark);
    if (at <= 0 || token === unkToken) continue;
    for (let i = 0; i < at; i++) if (token[i] !== mark && token[i + 1] === mark) return false;
  }
  return true;
};
