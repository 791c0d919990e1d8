/** Tensors of a checkpoint in the arrangement that llama.cpp has them in. */
import { turned } from '../turned.js';
import { type Arrangement, arrangedShape, type Run } from './layout.js';

type ArrangementOf<K extends Arrangement['kind']> = Arrangement & { readonly kind: K };

const rowsInOrder = (values: Float32Array, rows: number, { order }: ArrangementOf<'rows'>): Float32Array => {
  const width = values.length / rows;
  const moved = new Float32Array(order.length * width);
  order.forEach((row, target) => moved.set(values.subarray(row * width, (row + 1) * width), target * width));
  return moved;
};

const columnsInOrder = (values: Float32Array, { order }: ArrangementOf<'columns'>): Float32Array => {
  const { length } = order;
  return values.map((_, i) => values[i - (i % length) + (order[i % length] ?? 0)] ?? 0);
};

const withZeros = (values: Float32Array, rows: number, wanted: number): Float32Array => {
  const longer = new Float32Array((values.length / rows) * wanted);
  longer.set(values);
  return longer;
};

const runsScaled = (values: Float32Array, rows: number, runs: ReadonlyArray<Run>): Float32Array => {
  const width = values.length / rows;
  const times = new Float32Array(values);
  let first = 0;
  for (const run of runs) {
    const end = Math.min(rows, first + run.rows);
    for (let i = first * width; i < end * width; i++) times[i] = (values[i] ?? 0) * run.by;
    first = end;
  }
  return times;
};

/** Each of `count` matrices of so many rows and columns, turned. */
const eachTurned = (values: Float32Array, count: number, size: readonly [number, number]): Float32Array => {
  const each = values.length / count;
  const all = new Float32Array(values.length);
  for (let i = 0; i < count; i++) all.set(turned(values.subarray(i * each, (i + 1) * each), size), i * each);
  return all;
};

const ungrouped = (
  values: Float32Array,
  columns: number,
  { groups, sizes }: ArrangementOf<'ungrouped'>,
): Float32Array => {
  const ofGroup = sizes.reduce((sum, size) => sum + size, 0);
  const moved = new Float32Array(values.length);
  let target = 0;
  sizes.forEach((size, part) => {
    const before = sizes.slice(0, part).reduce((sum, other) => sum + other, 0);
    for (let group = 0; group < groups; group++) {
      const first = group * ofGroup + before;
      moved.set(values.subarray(first * columns, (first + size) * columns), target * columns);
      target += size;
    }
  });
  return moved;
};

const interleaved = (values: Float32Array, rows: number, columns: number, heads: number): Float32Array => {
  const half = rows / heads / 2;
  const moved = new Float32Array(values.length);
  for (let row = 0; row < rows; row++) {
    const head = Math.floor(row / (2 * half));
    const within = row % (2 * half);
    const target = head * 2 * half + 2 * (within % half) + Math.floor(within / half);
    moved.set(values.subarray(row * columns, (row + 1) * columns), target * columns);
  }
  return moved;
};

/** Values in their new arrangement, of a shape [rows, columns] or of one dimension. */
const moved = (values: Float32Array, shape: ReadonlyArray<number>, arrangement: Arrangement): Float32Array => {
  const [rows = 1, columns = 1] = shape;
  switch (arrangement.kind) {
    case 'asIs':
    case 'squeezed':
    case 'shaped':
      return values;
    case 'rows':
      return rowsInOrder(values, rows, arrangement);
    case 'columns':
      return columnsInOrder(values, arrangement);
    case 'padded':
      return withZeros(values, rows, arrangement.rows);
    case 'scaled':
      return runsScaled(values, rows, arrangement.runs);
    case 'eachTurned':
      return eachTurned(values, arrangement.count, [rows / arrangement.count, columns]);
    case 'decaying':
      return values.map((value) => -Math.exp(value));
    case 'inTurn': {
      const once = moved(values, shape, arrangement.first);
      return moved(once, arrangedShape(shape, arrangement.first), arrangement.then);
    }
    case 'offset':
      return values.map((value) => value + arrangement.by);
    case 'transposed':
      return turned(values, [rows, columns]);
    case 'ungrouped':
      return ungrouped(values, columns, arrangement);
    case 'interleaved':
      return interleaved(values, rows, columns, arrangement.heads);
  }
};

/** Values in their new arrangement, with its shape; shape [rows, columns], or one dimension. */
export const arranged = (
  values: Float32Array,
  shape: ReadonlyArray<number>,
  arrangement: Arrangement,
): { readonly values: Float32Array; readonly shape: ReadonlyArray<number> } => ({
  values: moved(values, shape, arrangement),
  shape: arrangedShape(shape, arrangement),
});
