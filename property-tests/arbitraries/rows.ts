import fc from 'fast-check';
import { labelledRows, tokenizedRows } from '../../src/laws/rows.js';
import type { RowOptions } from '../../src/laws/rows.js';
import type { Labelled, Row, Tokenized } from '../../src/records.js';

/** Odd constants, so that a hard-coded pad or ignored label shows. Ids include the pad id. */
export const pad = 7;
export const ignored = -9;

/** Tokenised rows with any of the masks; labels they bring are their ids or ignored (-100). */
export const tokenized = (options: RowOptions = {}): fc.Arbitrary<Tokenized> => tokenizedRows(options);

/** Rows with labels, `ignored` among them, and sometimes weights. */
export const labelled = (options: RowOptions = {}): fc.Arbitrary<Labelled> =>
  labelledRows({ ignoreIndex: ignored, ...options });

export const maxLengths = (): fc.Arbitrary<number> => fc.integer({ min: 1, max: 12 });

export const tokensOf = (rows: ReadonlyArray<Row>): ReadonlyArray<number> => rows.flatMap((row) => [...row.inputIds]);

/** Numbers of a multiset, for comparing what order changes. */
export const sorted = (values: ReadonlyArray<number>): ReadonlyArray<number> => [...values].sort((a, b) => a - b);
