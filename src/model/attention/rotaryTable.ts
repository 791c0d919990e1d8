/** Cosines and sines of positions, each computed once. */

/** Angle a position, for each pair of entries that turns; and what cos and sin are multiplied by. */
export interface Frequencies {
  readonly frequencies: Float64Array;
  readonly magnitude: number;
}

/** cos and sin of the first positions, [positions, rotaryDim / 2] each. */
interface Table extends Frequencies {
  readonly positions: number;
  readonly cos: Float32Array;
  readonly sin: Float32Array;
}

/** Writes the angles of positions first, first + 1, … into rows `row`, `row` + 1, … of cos and sin. */
export const writeAngles = (
  { frequencies, magnitude }: Frequencies,
  first: number,
  { cos, sin, row, rows }: Pick<Table, 'cos' | 'sin'> & { readonly row: number; readonly rows: number },
): void => {
  const half = frequencies.length;
  for (let n = 0; n < rows; n++) {
    for (let i = 0; i < half; i++) {
      // Angles are float32 products in the reference; large positions show the difference.
      const angle = Math.fround((first + n) * Math.fround(frequencies[i] ?? 0));
      cos[(row + n) * half + i] = Math.cos(angle) * magnitude;
      sin[(row + n) * half + i] = Math.sin(angle) * magnitude;
    }
  }
};

/** Every step asks for the same positions, and sines are dear. The one asked for last comes first. */
const tables = new WeakMap<object, ReadonlyArray<Table>>();

/** Of a configuration. LongRoPE has two kinds of text, dynamic scaling one for every length beyond the trained one. */
const mostTables = 4;

const same = (a: Frequencies, b: Frequencies): boolean =>
  a.magnitude === b.magnitude && a.frequencies.every((frequency, i) => frequency === b.frequencies[i]);

/** At least so many positions, at these frequencies of the configuration. */
export const tableOf = (config: object, own: Frequencies, length: number): Table => {
  const before = tables.get(config) ?? [];
  const known = before.find((table) => same(table, own));
  const lead = (table: Table): Table => {
    if (before[0] !== table)
      tables.set(config, [table, ...before.filter((other) => other !== known)].slice(0, mostTables));
    return table;
  };
  if (known !== undefined && known.positions >= length) return lead(known);
  const have = known?.positions ?? 0;
  // Generation asks for one more each time.
  const positions = Math.max(length, 2 * have);
  const size = positions * own.frequencies.length;
  const table = { ...own, positions, cos: new Float32Array(size), sin: new Float32Array(size) };
  if (known !== undefined) {
    table.cos.set(known.cos);
    table.sin.set(known.sin);
  }
  writeAngles(own, have, { ...table, row: have, rows: positions - have });
  return lead(table);
};
