/** BPE on characters, SentencePiece style: unknown ones become byte tokens, or `unk`, or nothing. */
import type { BpeConfig } from './bpeConfig.js';
import { byteToken } from './byteToken.js';
import { characterSpans } from './characterSpans.js';
import { codePointAt, isHighSurrogate, isLowSurrogate } from './codePoints.js';
import { mergeSymbols } from './mergeSymbols.js';
import type { MergeTable } from './mergeTable.js';
import { pairScan } from './pairScan.js';
import { remembering } from './remembering.js';
import { symbolsFor } from './symbols.js';
import type { TokenModel } from './tokenModel.js';
import { eachByte } from './utf8Bytes.js';

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
    else if (to - from === 2 && isHighSurrogate(units[from] ?? 0) && isLowSurrogate(units[from + 1] ?? 0)) {
      idOfAstral.set(codePointAt(units, from), id);
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
    const symbols = symbolsFor((to - from) * 4);
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
      const code = codePointAt(units, i);
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

  const spans = characterSpans({ idOf, widthOf, fallsBack, unk, fuseUnk }, { unitLength, isByte });
  return { encode, spans, ...(everyByte && !ignoreMerges ? { scan: pairScan(vocab) } : {}) };
};
