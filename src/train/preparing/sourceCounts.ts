/** What each file of a data set gave: a mixture's parts, seen as the run sees them. */
import { isSourced } from '../../formats/datasets/sourced.js';
import { sliceRow } from '../../operators/columns.js';
import { countLearnable } from '../../operators/learnable.js';
import { ignoreIndex } from '../../records.js';
import type { Labelled } from '../../records.js';
import { isParity } from '../options/parity.js';
import type { SftConfig } from '../options/config.js';
import { counted } from '../../formats/counted.js';

/** What a file gave, counted in rows as they were read: cut to maxLength, not yet packed. */
export interface SourceCounts {
  /** Absent for rows that come from no file. */
  readonly file?: string;
  /** Rows as they came. */
  readonly rowsRead: number;
  /** Of these, the ones that were refused. */
  readonly rejected: number;
  /** Tokens of the rows that were kept. */
  readonly tokens: number;
  /** Tokens with a label that reaches the loss. */
  readonly trainedTokens: number;
}

export interface SourceTally {
  /** A row as it came. */
  readonly read: (row: unknown) => void;
  /** What was made of the row read last: all between is synchronous. */
  readonly kept: (row: Labelled) => void;
  /** In the order of the files' first rows. */
  readonly counts: () => ReadonlyArray<SourceCounts>;
}

type Counting = Pick<SftConfig, 'packing' | 'packingStrategy' | 'parity'> & { readonly maxLength: number };

/** Undefined in 0.7.10 packing, whose text buffer does not know its rows. */
export const makeSourceTally = (config: Counting): SourceTally | undefined => {
  const { packing, packingStrategy, maxLength } = config;
  if (packing && isParity(config)) return undefined;
  const cuts = !packing || packingStrategy === 'bfd';
  const byFile = new Map<
    string | undefined,
    { rowsRead: number; kept: number; tokens: number; trainedTokens: number }
  >();
  let file: string | undefined;
  let own = { rowsRead: 0, kept: 0, tokens: 0, trainedTokens: 0 };
  return {
    read: (row) => {
      const from = isSourced(row) ? row.file : undefined;
      if (from !== file || byFile.size === 0) {
        own = byFile.get(from) ?? { rowsRead: 0, kept: 0, tokens: 0, trainedTokens: 0 };
        byFile.set(from, own);
        file = from;
      }
      own.rowsRead++;
    },
    kept: (row) => {
      const { inputIds, labels, seqLengths } =
        cuts && row.inputIds.length > maxLength ? sliceRow(row, 0, maxLength) : row;
      own.kept++;
      own.tokens += inputIds.length;
      own.trainedTokens += countLearnable(labels, seqLengths, ignoreIndex);
    },
    counts: () =>
      Array.from(byFile, ([name, { rowsRead, kept, tokens, trainedTokens }]) => ({
        ...(name === undefined ? {} : { file: name }),
        rowsRead,
        rejected: rowsRead - kept,
        tokens,
        trainedTokens,
      })),
  };
};

const number = (value: number): string => value.toLocaleString('en-US');

/** A line a file, those with most tokens first; none for a single one, which the whole tells of. At most `most` files are named. */
export const sourceLines = (counts: ReadonlyArray<SourceCounts> = [], most = 12): ReadonlyArray<string> => {
  if (counts.length < 2) return [];
  const sorted = counts.toSorted((a, b) => b.tokens - a.tokens);
  const named = sorted
    .slice(0, most)
    .map(
      ({ file = 'from no file', rowsRead, rejected, tokens, trainedTokens }) =>
        `${file}: ${counted(rowsRead, 'row')}, ${number(rejected)} refused, ${number(trainedTokens)} of ${number(tokens)} tokens trained`,
    );
  return sorted.length > most ? [...named, `and ${counted(sorted.length - most, 'more file')}`] : named;
};
