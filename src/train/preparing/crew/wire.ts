/** Outcomes as they cross threads: columns of a whole block end to end, so that little is cloned and nothing large is copied. */
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import { sourced } from '../../../formats/datasets/sourced.js';
import { isSourced } from '../../../formats/datasets/sourced.js';
import type { Labelled } from '../../../records.js';
import type { Outcome, Outcomes, Warned } from './outcome.js';

export interface Packed {
  /** Of each row. */
  readonly saws: Uint8Array<ArrayBuffer>;
  readonly tokens: Int32Array<ArrayBuffer>;
  /** Lines of the rows of a block of lines. */
  readonly lines?: Float64Array<ArrayBuffer>;
  /** Of each row; -1 where there is none. */
  readonly lengths: Int32Array<ArrayBuffer>;
  readonly inputIds: Int32Array<ArrayBuffer>;
  readonly labels: Int32Array<ArrayBuffer>;
  /** End to end, of the rows that have the column. */
  readonly lossWeights?: Sparse<Float32Array<ArrayBuffer>>;
  readonly roles?: Sparse<Uint8Array<ArrayBuffer>>;
  /** Of rows that are not one document. */
  readonly documents: ReadonlyArray<readonly [row: number, lengths: ReadonlyArray<number>]>;
  readonly warned: ReadonlyArray<readonly [row: number, warned: ReadonlyArray<Warned>]>;
  readonly refused: ReadonlyArray<readonly [row: number, refused: Outcome['refused']]>;
  readonly roleNames?: ReadonlyArray<string>;
  /** Of each row: how many of the names were there by then. */
  readonly named?: Uint8Array<ArrayBuffer>;
}

interface Sparse<T> {
  /** 1 where a row has the column. */
  readonly has: Uint8Array<ArrayBuffer>;
  readonly values: T;
}

/** Roles are numbered in one byte. */
export const mostRoles = 0xff;

const columns: ReadonlySet<string> = new Set(['inputIds', 'labels', 'seqLengths', 'lossWeights', 'roles']);

const crosses = (row: Labelled): boolean => Object.keys(row).every((name) => columns.has(name));

const sparse = <T extends Float32Array<ArrayBuffer> | Uint8Array<ArrayBuffer>>(
  rows: ReadonlyArray<Labelled | undefined>,
  column: (row: Labelled) => ArrayLike<number> | undefined,
  make: (length: number) => T,
): Sparse<T> | undefined => {
  const has = new Uint8Array(rows.length);
  let length = 0;
  rows.forEach((row, i) => {
    const own = row === undefined ? undefined : column(row);
    if (own === undefined) return;
    has[i] = 1;
    length += own.length;
  });
  if (length === 0 && !has.includes(1)) return undefined;
  const values = make(length);
  let at = 0;
  for (const row of rows) {
    const own = row === undefined ? undefined : column(row);
    if (own === undefined) continue;
    values.set(own, at);
    at += own.length;
  }
  return { has, values };
};

/** Undefined for what has no place in it: bugs, columns of someone's own, more roles than have numbers. */
export const packOutcomes = (
  kind: RowBlock['kind'],
  { rows: outcomes, roles }: Outcomes,
): { readonly packed: Packed; readonly transfer: ReadonlyArray<ArrayBuffer> } | undefined => {
  if ((roles?.length ?? 0) > mostRoles) return undefined;
  const count = outcomes.length;
  const saws = new Uint8Array(count);
  const tokens = new Int32Array(count);
  const lengths = new Int32Array(count);
  const named = roles === undefined ? undefined : new Uint8Array(count);
  const lines = kind === 'lines' ? new Float64Array(count) : undefined;
  const documents: Array<readonly [number, ReadonlyArray<number>]> = [];
  const warned: Array<readonly [number, ReadonlyArray<Warned>]> = [];
  const refused: Array<readonly [number, Outcome['refused']]> = [];
  let total = 0;
  for (let i = 0; i < count; i++) {
    const outcome = outcomes[i];
    if (outcome === undefined) continue;
    const { row, source } = outcome;
    if (outcome.bug !== undefined) return undefined;
    saws[i] = outcome.saws;
    tokens[i] = outcome.tokens;
    if (named !== undefined) named[i] = outcome.roles;
    if (lines !== undefined) lines[i] = isSourced(source) ? source.line : 0;
    if (outcome.warned.length > 0) warned.push([i, outcome.warned]);
    // What the first stage refuses is the row itself; who sent it has it.
    if (outcome.refused !== undefined) {
      const { error, record } = outcome.refused;
      refused.push([i, { error, record: kind === 'rows' && record === source ? undefined : record }]);
    }
    lengths[i] = row?.inputIds.length ?? -1;
    if (row === undefined) continue;
    if (!crosses(row)) return undefined;
    total += row.inputIds.length;
    if (row.seqLengths.length !== 1) documents.push([i, row.seqLengths]);
  }
  const inputIds = new Int32Array(total);
  const labels = new Int32Array(total);
  let at = 0;
  for (const { row } of outcomes) {
    if (row === undefined) continue;
    inputIds.set(row.inputIds, at);
    labels.set(row.labels, at);
    at += row.inputIds.length;
  }
  const rows = outcomes.map(({ row }) => row);
  const lossWeights = sparse(
    rows,
    (row) => row.lossWeights,
    (length) => new Float32Array(length),
  );
  const roleColumn = sparse(
    rows,
    (row) => row.roles,
    (length) => new Uint8Array(length),
  );
  const packed: Packed = {
    saws,
    tokens,
    ...(lines === undefined ? {} : { lines }),
    lengths,
    inputIds,
    labels,
    ...(lossWeights === undefined ? {} : { lossWeights }),
    ...(roleColumn === undefined ? {} : { roles: roleColumn }),
    documents,
    warned,
    refused,
    ...(roles === undefined ? {} : { roleNames: roles }),
    ...(named === undefined ? {} : { named }),
  };
  const optional = [lossWeights, roleColumn].flatMap((one) => (one === undefined ? [] : [one.has, one.values]));
  const arrays = [saws, tokens, lengths, inputIds, labels, lines, named].filter((array) => array !== undefined);
  return { packed, transfer: [...arrays, ...optional].map(({ buffer }) => buffer) };
};

const noWarnings: ReadonlyArray<Warned> = [];

/** The outcomes again, for whoever sent the block. Columns are views of the block's. */
export const unpackOutcomes = (block: RowBlock, packed: Packed): Outcomes => {
  const { saws, tokens, lines, lengths, inputIds, labels, lossWeights, roles, named } = packed;
  const documents = new Map(packed.documents);
  const warned = new Map(packed.warned);
  const refused = new Map(packed.refused);
  let at = 0;
  let weightsAt = 0;
  let rolesAt = 0;
  const outcomes: Array<Outcome> = [];
  for (let i = 0; i < lengths.length; i++) {
    const source = block.kind === 'rows' ? block.rows[i] : sourced(block.file, lines?.[i] ?? 0, undefined);
    const told = {
      source,
      saws: saws[i] ?? 0,
      tokens: tokens[i] ?? -1,
      roles: named?.[i] ?? 0,
      warned: warned.get(i) ?? noWarnings,
    };
    const length = lengths[i] ?? -1;
    if (length < 0) {
      const own = refused.get(i);
      if (own !== undefined) {
        const record = block.kind === 'rows' && told.saws === 1 ? source : own.record;
        outcomes.push({ ...told, refused: { error: own.error, record } });
      }
      continue;
    }
    const seqLengths = documents.get(i) ?? [length];
    const ids = inputIds.subarray(at, at + length);
    const own = labels.subarray(at, at + length);
    at += length;
    if (lossWeights === undefined && roles === undefined) {
      outcomes.push({ ...told, row: { inputIds: ids, seqLengths, labels: own } });
      continue;
    }
    const row: { -readonly [K in keyof Labelled]: Labelled[K] } = { inputIds: ids, seqLengths, labels: own };
    if (lossWeights?.has[i] === 1) {
      row.lossWeights = lossWeights.values.subarray(weightsAt, weightsAt + length);
      weightsAt += length;
    }
    if (roles?.has[i] === 1) {
      row.roles = roles.values.subarray(rolesAt, rolesAt + length);
      rolesAt += length;
    }
    outcomes.push({ ...told, row });
  }
  return { rows: outcomes, ...(packed.roleNames === undefined ? {} : { roles: packed.roleNames }) };
};
