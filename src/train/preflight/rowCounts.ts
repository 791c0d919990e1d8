/** Rows and windows that can be trained on, counted. */
import { countLearnable } from '../../operators/learnable.js';
import { packRows } from '../../operators/pack.js';
import type { Labelled } from '../../records.js';
import { ignoreIndex } from '../../records.js';
import { isParity } from '../options/parity.js';
import type { PrepareConfig } from '../preparing/prepare.js';

/** How many of them, and what they hold. */
export interface RowCounts {
  readonly rows: number;
  readonly tokens: number;
  /** Tokens with a label that reaches the loss. */
  readonly trained: number;
}

export const noRows: RowCounts = { rows: 0, tokens: 0, trained: 0 };

/** The sums. */
export const both = (a: RowCounts, b: RowCounts): RowCounts => ({
  rows: a.rows + b.rows,
  tokens: a.tokens + b.tokens,
  trained: a.trained + b.trained,
});

const countsOf = ({ inputIds, labels, seqLengths }: Labelled): RowCounts => ({
  rows: 1,
  tokens: inputIds.length,
  trained: countLearnable(labels, seqLengths, ignoreIndex),
});

/** The rows that a run keeps: those that something is trained of, under 0.7.10 parity those of any tokens. */
export const keptRows = (rows: ReadonlyArray<Labelled>, config: Pick<PrepareConfig, 'parity'>): RowCounts =>
  rows
    .map(countsOf)
    .filter(({ tokens, trained }) => (isParity(config) ? tokens : trained) > 0)
    .reduce(both, noRows);

/** Packs rows that come one by one. */
export interface Packer {
  /** Takes a row; the windows that are full by that, most often none. */
  readonly push: (row: Labelled) => ReadonlyArray<Labelled>;
  /** The windows of the rows that wait. */
  readonly release: () => ReadonlyArray<Labelled>;
}

/** Packs so many rows at a time, by default as many as the stream does. */
export const makePacker = (
  { maxLength, packingStrategy }: Pick<PrepareConfig, 'maxLength' | 'packingStrategy'>,
  atOnce = 1000,
): Packer => {
  const pack = packRows<Labelled>({ maxLength, packingStrategy });
  let held: Array<Labelled> = [];
  const release = (): ReadonlyArray<Labelled> => {
    const packed = pack(held);
    held = [];
    return packed;
  };
  return {
    push: (row) => {
      held.push(row);
      return held.length < atOnce ? [] : release();
    },
    release,
  };
};
