import { pushId } from './idBuffer.js';
import { lastSymbols } from './symbols.js';
import type { Source, TokenModel } from './tokenModel.js';
import { makeWordTable } from './wordTable.js';

/** Where a model's `encode` begins: the table of known words before the work. */
export const remembering = (
  /** Leaves the ids in `lastSymbols`, returns how many. */
  work: (source: Source, from: number, to: number) => number,
): TokenModel['encode'] => {
  const table = makeWordTable();
  return (source, from, to, out) => {
    const { units } = source;
    const hash = table.hash(units, from, to);
    if (table.push(units, from, to, hash, out)) return;
    const count = work(source, from, to);
    const symbols = lastSymbols();
    table.store(units, from, to, hash, symbols, count);
    for (let i = 0; i < count; i++) pushId(out, symbols[i] ?? 0);
  };
};
