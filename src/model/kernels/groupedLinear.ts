/** Linear maps of groups of rows, a map a group: the experts of a mixture, whose rows lie one below the other. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, matMul, slice, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

export interface GroupedAttrs {
  /** Rows of each group, in order. */
  readonly sizes: ReadonlyArray<number>;
  /** As in `linear`. */
  readonly flows?: boolean;
}

/** Of tensors one a group, that of group g. */
export const ofGroup = (tensors: ReadonlyArray<Tensor>, g: number): Tensor => {
  const tensor = tensors[g];
  if (tensor === undefined) throw new RangeError(`${tensors.length} tensors, and none of group ${g}`);
  return tensor;
};

/** The rows of each group of x [Σ sizes, C]. */
export const groupsOf = (x: Tensor, sizes: ReadonlyArray<number>): ReadonlyArray<Tensor> => {
  let from = 0;
  return sizes.map((size) => {
    const rows = slice(x, [from, 0], [size, -1]);
    from += size;
    return rows;
  });
};

export const RxGroupedLinear = namedOp(
  'RxGroupedLinear',
  ([x, ...parts]: readonly [Tensor, ...Tensor[]], { sizes }: GroupedAttrs): readonly [Tensor] => {
    const [ws, biases] = [parts.slice(0, sizes.length), parts.slice(sizes.length)];
    const ys = groupsOf(x, sizes).map((rows, g) => {
      const y = matMul(rows, ofGroup(ws, g), false, true);
      const bias = biases[g];
      return bias === undefined ? y : add(y, bias);
    });
    return [concat(ys, 0)];
  },
);

/** Rows of group g times the g-th weight [O, I], plus the g-th bias [O] where there are biases: [Σ sizes, I] to [Σ sizes, O]. */
export const groupedLinear = (
  x: Tensor,
  ws: ReadonlyArray<Tensor>,
  biases: ReadonlyArray<Tensor>,
  attrs: GroupedAttrs,
): Tensor => RxGroupedLinear.run([x, ...ws, ...biases], attrs)[0];

export const RxGroupedLinearGradInput = namedOp(
  'RxGroupedLinearGradInput',
  ([dy, ...parts]: readonly [Tensor, ...Tensor[]], { sizes }: GroupedAttrs): readonly [Tensor] => {
    const dx = concat(
      groupsOf(dy, sizes).map((rows, g) => matMul(rows, ofGroup(parts, g))),
      0,
    );
    const accumulate = parts[sizes.length];
    return [accumulate === undefined ? dx : add(dx, accumulate)];
  },
);

/** Gradient of x, [Σ sizes, I], with `accumulate` of that shape added. */
export const groupedLinearGradInput = (
  dy: Tensor,
  ws: ReadonlyArray<Tensor>,
  accumulate: Tensor | undefined,
  attrs: GroupedAttrs,
): Tensor => RxGroupedLinearGradInput.run([dy, ...ws, ...(accumulate === undefined ? [] : [accumulate])], attrs)[0];

export const RxGroupedLinearGradWeight = namedOp(
  'RxGroupedLinearGradWeight',
  ({ x, dy }: { x: Tensor; dy: Tensor }, { sizes }: GroupedAttrs): ReadonlyArray<Tensor> => {
    const dys = groupsOf(dy, sizes);
    return groupsOf(x, sizes).map((rows, g) => matMul(ofGroup(dys, g), rows, true, false));
  },
);

/** Gradient of each weight, [O, I]. */
export const groupedLinearGradWeight = (x: Tensor, dy: Tensor, attrs: GroupedAttrs): ReadonlyArray<Tensor> =>
  RxGroupedLinearGradWeight.run({ x, dy }, attrs);

export const RxGroupedColumnSum = namedOp(
  'RxGroupedColumnSum',
  ({ dy }: { dy: Tensor }, { sizes }: GroupedAttrs): ReadonlyArray<Tensor> =>
    groupsOf(dy, sizes).map((rows) => sum(rows, 0)),
);

/** Gradient of each bias, [O]. */
export const groupedColumnSum = (dy: Tensor, attrs: GroupedAttrs): ReadonlyArray<Tensor> =>
  RxGroupedColumnSum.run({ dy }, attrs);
