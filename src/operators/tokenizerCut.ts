import type { Row } from '../records.js';
import { joinRows, sliceRow } from './columns.js';

/** How the tokenizers library cuts a text's tokens: what it put around them stays. */
export interface TokenizerCut {
  /** Tokens a row, those that the tokenizer adds included. */
  readonly maxLength: number;
  /** What the tokenizer puts in front of a text. */
  readonly prefix: ArrayLike<number>;
  /** What it puts behind a text. */
  readonly suffix: ArrayLike<number>;
  /** Which end of the text goes. */
  readonly side: 'left' | 'right';
}

const standsAt = ({ inputIds }: Row, ids: ArrayLike<number>, at: number): boolean => {
  for (let t = 0; t < ids.length; t++) if (inputIds[at + t] !== ids[t]) return false;
  return true;
};

/** At most `maxLength` tokens of a row, all columns cut alike. Rows that do not stand between prefix and suffix have neither. */
export const cutAsTokenizer = <A extends Row>(row: A, { maxLength, prefix, suffix, side }: TokenizerCut): A => {
  const { length } = row.inputIds;
  if (length <= maxLength) return row;
  const around = prefix.length + suffix.length;
  const stands =
    around <= maxLength && standsAt(row, prefix, 0) && standsAt(row, suffix, Math.max(0, length - suffix.length));
  const [before, after] = stands ? [prefix.length, suffix.length] : [0, 0];
  const kept = maxLength - before - after;
  const start = side === 'right' ? before : length - after - kept;
  const parts = [
    sliceRow(row, 0, before),
    sliceRow(row, start, start + kept),
    sliceRow(row, length - after, length),
  ].filter(({ inputIds }) => inputIds.length > 0);
  return parts.length === 0 ? sliceRow(row, 0, 0) : { ...joinRows(parts), seqLengths: [maxLength] };
};
