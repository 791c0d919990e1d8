/** A row as it is shown: token by token, with what the loss makes of each. */
import { documentStarts } from '../../operators/columns.js';
import type { Labelled } from '../../records.js';
import { ignoreIndex } from '../../records.js';
import { piecesOf } from './pieces.js';

export interface ShownToken {
  readonly id: number;
  readonly text: string;
  /** `trained`: the loss asks for it. `masked`: read only. `pad`: fills the batch, never reaches the model. */
  readonly state: 'trained' | 'masked' | 'pad';
  /** Begins a document, another one before it. */
  readonly border: boolean;
  /** Where it is not 1. */
  readonly weight?: number;
}

/**
 * The tokens of a row, filled up with `padTo - length` pads. A document's first label reaches no loss, so its first token is
 * masked.
 */
export const shownTokens = (
  row: Labelled,
  decode: (ids: ReadonlyArray<number>) => string,
  { padTo = 0, padTokenId = 0 }: { readonly padTo?: number; readonly padTokenId?: number } = {},
): ReadonlyArray<ShownToken> => {
  const starts = new Set(documentStarts(row.seqLengths));
  const pieces = piecesOf(row.inputIds, decode);
  const tokens = Array.from(row.inputIds, (id, t): ShownToken => {
    const weight = row.lossWeights?.[t] ?? 1;
    const trained = (row.labels[t] ?? ignoreIndex) !== ignoreIndex && !starts.has(t) && weight !== 0;
    return {
      id,
      text: pieces[t] ?? '',
      state: trained ? 'trained' : 'masked',
      border: t > 0 && starts.has(t),
      ...(weight === 1 ? {} : { weight }),
    };
  });
  const pads = Array.from(
    { length: Math.max(0, padTo - tokens.length) },
    (): ShownToken => ({ id: padTokenId, text: '', state: 'pad', border: false }),
  );
  return [...tokens, ...pads];
};
