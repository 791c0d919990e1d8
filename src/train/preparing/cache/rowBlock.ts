/** Prepared rows ⇄ one block of bytes: a head that names the columns, then each column of all the rows end to end. */
import { ignoreIndex } from '../../../records.js';
import type { Labelled } from '../../../records.js';

/** Columns start at multiples of this, so that typed arrays can lie on them. */
const alignment = 8;
const aligned = (at: number): number => Math.ceil(at / alignment) * alignment;

type Column = Uint8Array | Uint16Array | Uint32Array | Int32Array | Float32Array;

const types = { Uint8Array, Uint16Array, Uint32Array, Int32Array, Float32Array } as const;
type TypeName = keyof typeof types;
const typeOf = (column: Column): TypeName => column.constructor.name as TypeName;

/** What a row may have beside ids and labels; the bit says which rows have it. */
const optional = { lossWeights: Float32Array, roles: Uint8Array, files: Uint16Array, lines: Uint32Array } as const;
type OptionalName = keyof typeof optional;
const optionalNames = Object.keys(optional) as ReadonlyArray<OptionalName>;

interface Head {
  readonly rows: number;
  readonly columns: ReadonlyArray<readonly [name: string, type: TypeName, length: number]>;
}

const end = <A extends Column>(parts: ReadonlyArray<A>, to: A): A => {
  let at = 0;
  for (const part of parts) {
    to.set(part, at);
    at += part.length;
  }
  return to;
};

/** Ids as short as they are. */
const narrowed = (ids: Int32Array): Int32Array | Uint16Array =>
  ids.every((id) => id >= 0 && id <= 0xffff) ? Uint16Array.from(ids) : ids;

/**
 * Labels as little as says them: nothing where each is its id, a bit a token where each is its id or ignored, else themselves.
 */
const labelColumn = (ids: Int32Array, labels: Int32Array): readonly [name: string, column: Column] | undefined => {
  const trained = new Uint8Array(Math.ceil(ids.length / 8));
  let masked = false;
  for (let t = 0; t < ids.length; t++) {
    const label = labels[t];
    if (label === ids[t]) trained[t >> 3] = (trained[t >> 3] ?? 0) | (1 << (t & 7));
    else if (label === ignoreIndex) masked = true;
    else return ['labels', labels];
  }
  return masked ? ['trained', trained] : undefined;
};

const labelsFrom = (ids: Int32Array, trained: Uint8Array): Int32Array => {
  const labels = new Int32Array(ids.length);
  for (let t = 0; t < ids.length; t++) {
    labels[t] = (((trained[t >> 3] ?? 0) >> (t & 7)) & 1) === 1 ? (ids[t] ?? 0) : ignoreIndex;
  }
  return labels;
};

export const encodeRows = (rows: ReadonlyArray<Labelled>): Uint8Array => {
  const tokens = rows.reduce((sum, { inputIds }) => sum + inputIds.length, 0);
  const ids = end(
    rows.map(({ inputIds }) => inputIds),
    new Int32Array(tokens),
  );
  const labels = end(
    rows.map((row) => row.labels),
    new Int32Array(tokens),
  );
  const labelling = labelColumn(ids, labels);
  const columns: Array<readonly [string, Column]> = [
    ['lengths', Uint32Array.from(rows, ({ inputIds }) => inputIds.length)],
    ['ids', narrowed(ids)],
    ...(labelling === undefined ? [] : [labelling]),
  ];
  if (rows.some(({ seqLengths }) => seqLengths.length !== 1)) {
    columns.push(['documents', Uint32Array.from(rows, ({ seqLengths }) => seqLengths.length)]);
    columns.push(['seqLengths', Uint32Array.from(rows.flatMap(({ seqLengths }) => seqLengths))]);
  }
  const flags = Uint8Array.from(rows, (row) =>
    optionalNames.reduce((bits, name, i) => (row[name] === undefined ? bits : bits | (1 << i)), 0),
  );
  if (flags.some((bits) => bits !== 0)) columns.push(['flags', flags]);
  for (const name of optionalNames) {
    const parts: ReadonlyArray<Column> = rows.flatMap((row) => row[name] ?? []);
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    if (parts.length > 0) columns.push([name, end(parts, new optional[name](length))]);
  }
  const head: Head = {
    rows: rows.length,
    columns: columns.map(([name, column]) => [name, typeOf(column), column.length]),
  };
  const headBytes = new TextEncoder().encode(JSON.stringify(head));
  let size = aligned(alignment + headBytes.length);
  const places = columns.map(([, column]) => {
    const at = size;
    size = aligned(at + column.byteLength);
    return at;
  });
  const block = new Uint8Array(size);
  new DataView(block.buffer).setUint32(0, headBytes.length, true);
  block.set(headBytes, alignment);
  for (const [i, [, column]] of columns.entries()) {
    block.set(new Uint8Array(column.buffer, column.byteOffset, column.byteLength), places[i] ?? 0);
  }
  return block;
};

const headOf = (block: ArrayBuffer): { readonly head: Head; readonly size: number } => {
  const length = new DataView(block).getUint32(0, true);
  const head = JSON.parse(new TextDecoder().decode(new Uint8Array(block, alignment, length))) as Head;
  return { head, size: aligned(alignment + length) };
};

/** How many rows a block holds. */
export const countRows = (block: ArrayBuffer): number => headOf(block).head.rows;

/** The rows of a block that `encodeRows` made. They are views of it: whoever keeps one keeps the block. */
export const decodeRows = (block: ArrayBuffer): ReadonlyArray<Labelled> => {
  const { head, size } = headOf(block);
  const columns = new Map<string, Column>();
  let place = size;
  for (const [name, type, length] of head.columns) {
    const column = new types[type](block, place, length);
    columns.set(name, column);
    place = aligned(place + column.byteLength);
  }
  const column = (name: string): Column => columns.get(name) ?? new Uint8Array(0);
  const stored = column('ids');
  const ids = stored instanceof Int32Array ? stored : Int32Array.from(stored);
  const trained = columns.get('trained');
  const given = columns.get('labels');
  const labels = trained instanceof Uint8Array ? labelsFrom(ids, trained) : given instanceof Int32Array ? given : ids;
  const [lengths, documents, seqLengths, flags] = ['lengths', 'documents', 'seqLengths', 'flags'].map(column);
  const at = { token: 0, document: 0, lossWeights: 0, roles: 0, files: 0, lines: 0 };
  const more = (bits: number, length: number): Pick<Labelled, OptionalName> => {
    const own: Partial<Record<OptionalName, Column>> = {};
    for (const [i, name] of optionalNames.entries()) {
      if (((bits >> i) & 1) === 0) continue;
      own[name] = column(name).subarray(at[name], at[name] + length);
      at[name] += length;
    }
    return own as Pick<Labelled, OptionalName>;
  };
  const rows: Array<Labelled> = [];
  for (let row = 0; row < head.rows; row++) {
    const length = lengths?.[row] ?? 0;
    const count = documents?.[row];
    const [from, to] = [at.token, at.token + length];
    const inputIds = ids.subarray(from, to);
    const own: Labelled = {
      inputIds,
      // A third of the time goes into making views: where labels are the ids, one serves as both.
      labels: labels === ids ? inputIds : labels.subarray(from, to),
      seqLengths:
        count === undefined ? [length] : Array.from(seqLengths?.subarray(at.document, at.document + count) ?? []),
    };
    const bits = flags?.[row] ?? 0;
    rows.push(bits === 0 ? own : { ...own, ...more(bits, length) });
    at.token = to;
    at.document += count ?? 0;
  }
  return rows;
};
