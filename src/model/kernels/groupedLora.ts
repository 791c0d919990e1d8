/** Low-rank adapters of groups of rows, one a map and group: those on the experts of a mixture, whose rows lie one below the other. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { add, concat, matMul, mul, slice, tensor } from '../../tfjs.js';
import { dropoutMask } from './dropout.js';
import { RxGroupedLinear, RxGroupedLinearGradInput, groupsOf, ofGroup } from './groupedLinear.js';
import type { GroupedAttrs } from './groupedLinear.js';
import { namedOp } from './namedOp.js';

/** `count` parts of as many tensors each. */
const inParts = (tensors: ReadonlyArray<Tensor>, count: number): ReadonlyArray<ReadonlyArray<Tensor>> => {
  const each = count === 0 ? 0 : tensors.length / count;
  return Array.from({ length: count }, (_, i) => tensors.slice(i * each, (i + 1) * each));
};

const columnsOf = (x: Tensor, first: number, width: number): Tensor => slice(x, [0, first], [-1, width]);
const widthOf = (x: Tensor): number => x.shape[1] ?? 0;

export interface GroupedMapsAttrs extends GroupedAttrs {
  /** Adapters that read the same rows. */
  readonly maps: number;
}

export const RxGroupedLoraDown = namedOp(
  'RxGroupedLoraDown',
  ([x, ...as]: readonly [Tensor, ...Tensor[]], { sizes, maps }: GroupedMapsAttrs): readonly [Tensor] => {
    const of = inParts(as, maps);
    return [
      concat(
        groupsOf(x, sizes).map((rows, g) =>
          matMul(
            rows,
            concat(
              of.map((own) => ofGroup(own, g)),
              0,
            ),
            false,
            true,
          ),
        ),
        0,
      ),
    ];
  },
);

/** Rows of group g times the g-th a [r, I] of each map, side by side: [Σ sizes, Σ r]. `as`: of one map after the other. */
export const groupedLoraDown = (x: Tensor, as: ReadonlyArray<Tensor>, attrs: GroupedMapsAttrs): Tensor =>
  RxGroupedLoraDown.run([x, ...as], attrs)[0];

export interface GroupedLoraUpAttrs extends GroupedAttrs {
  readonly scaling: number;
  /** Where this map's r columns of u begin. */
  readonly first: number;
}

export const RxGroupedLoraUp = namedOp(
  'RxGroupedLoraUp',
  (
    [x, u, ...parts]: readonly [Tensor, Tensor, ...Tensor[]],
    { sizes, scaling, first }: GroupedLoraUpAttrs,
  ): readonly [Tensor] => {
    const count = sizes.length;
    const bs = parts.slice(count, 2 * count);
    const [base] = RxGroupedLinear.reference([x, ...parts.slice(0, count), ...parts.slice(2 * count)], { sizes });
    const changes = groupsOf(u, sizes).map((rows, g) => {
      const b = ofGroup(bs, g);
      return mul(matMul(columnsOf(rows, first, widthOf(b)), b, false, true), scaling);
    });
    return [add(base, concat(changes, 0))];
  },
);

export interface GroupedLoraUpInputs {
  /** [Σ sizes, I] */
  readonly x: Tensor;
  /** [Σ sizes, R] */
  readonly u: Tensor;
  /** [O, I] of each group. */
  readonly ws: ReadonlyArray<Tensor>;
  /** [O, r] of each group. */
  readonly bs: ReadonlyArray<Tensor>;
  /** [O] of each group, or none. */
  readonly biases: ReadonlyArray<Tensor>;
}

/** `groupedLinear` and what the adapters add to it: scaling · (u[:, first … first + r - 1]·bᵀ) of each group's own b. */
export const groupedLoraUp = ({ x, u, ws, bs, biases }: GroupedLoraUpInputs, attrs: GroupedLoraUpAttrs): Tensor =>
  RxGroupedLoraUp.run([x, u, ...ws, ...bs, ...biases], attrs)[0];

export interface GroupedLoraUpGradAttrs extends GroupedAttrs {
  /** Of each map. */
  readonly scaling: ReadonlyArray<number>;
}

export const RxGroupedLoraUpGrad = namedOp(
  'RxGroupedLoraUpGrad',
  (
    [u, ...parts]: readonly [Tensor, ...Tensor[]],
    { sizes, scaling }: GroupedLoraUpGradAttrs,
  ): ReadonlyArray<Tensor> => {
    let first = 0;
    const back = inParts(parts, scaling.length).map((own, m) => {
      const factor = scaling[m] ?? NaN;
      const [dys, bs] = [groupsOf(ofGroup(own, 0), sizes), own.slice(1)];
      const rank = widthOf(ofGroup(bs, 0));
      const us = groupsOf(columnsOf(u, first, rank), sizes);
      first += rank;
      return {
        du: concat(
          dys.map((rows, g) => mul(matMul(rows, ofGroup(bs, g)), factor)),
          0,
        ),
        dBs: dys.map((rows, g) => mul(matMul(rows, ofGroup(us, g), true, false), factor)),
      };
    });
    return [
      concat(
        back.map(({ du }) => du),
        1,
      ),
      ...back.flatMap(({ dBs }) => dBs),
    ];
  },
);

/** Gradients of u and of each group's b, [O, r], of each map: from dy [Σ sizes, O] and b of one map after the other. */
export const groupedLoraUpGrad = (
  u: Tensor,
  maps: ReadonlyArray<{ readonly dy: Tensor; readonly bs: ReadonlyArray<Tensor>; readonly scaling: number }>,
  { sizes }: GroupedAttrs,
): { readonly du: Tensor; readonly dBs: ReadonlyArray<ReadonlyArray<Tensor>> } => {
  const [du, ...dBs] = RxGroupedLoraUpGrad.run([u, ...maps.flatMap(({ dy, bs }) => [dy, ...bs])], {
    sizes,
    scaling: maps.map(({ scaling }) => scaling),
  }) as readonly [Tensor, ...Tensor[]];
  return { du, dBs: inParts(dBs, maps.length) };
};

export interface GroupedLoraDownGradAttrs extends GroupedAttrs {
  /** Of each map: together the columns of du. */
  readonly ranks: ReadonlyArray<number>;
}

export const RxGroupedLoraDownGrad = namedOp(
  'RxGroupedLoraDownGrad',
  ({ x, du }: { x: Tensor; du: Tensor }, { sizes, ranks }: GroupedLoraDownGradAttrs): ReadonlyArray<Tensor> => {
    const xs = groupsOf(x, sizes);
    let first = 0;
    return ranks.flatMap((rank) => {
      const own = groupsOf(columnsOf(du, first, rank), sizes);
      first += rank;
      return own.map((rows, g) => matMul(rows, ofGroup(xs, g), true, false));
    });
  },
);

/** Gradient of each group's a, [r, I], of each map, from that of u, [Σ sizes, Σ r]. */
export const groupedLoraDownGrad = (
  x: Tensor,
  du: Tensor,
  attrs: GroupedLoraDownGradAttrs,
): ReadonlyArray<ReadonlyArray<Tensor>> => inParts(RxGroupedLoraDownGrad.run({ x, du }, attrs), attrs.ranks.length);

export const RxGroupedLoraGradInput = namedOp(
  'RxGroupedLoraGradInput',
  (
    [dy, du, ...parts]: readonly [Tensor, Tensor, ...Tensor[]],
    { sizes, maps }: GroupedMapsAttrs,
  ): readonly [Tensor] => {
    const count = sizes.length;
    const [ws, as] = [parts.slice(0, count), inParts(parts.slice(count, count * (1 + maps)), maps)];
    const [base] = RxGroupedLinearGradInput.reference([dy, ...ws, ...parts.slice(count * (1 + maps))], { sizes });
    const through = groupsOf(du, sizes).map((rows, g) =>
      matMul(
        rows,
        concat(
          as.map((own) => ofGroup(own, g)),
          0,
        ),
      ),
    );
    return [add(base, concat(through, 0))];
  },
);

export interface GroupedLoraGradInputs {
  /** [Σ sizes, O] */
  readonly dy: Tensor;
  /** [Σ sizes, Σ r] */
  readonly du: Tensor;
  /** [O, I] of each group. */
  readonly ws: ReadonlyArray<Tensor>;
  /** [r, I] of each group, of one map after the other. */
  readonly as: ReadonlyArray<Tensor>;
  /** [Σ sizes, I] */
  readonly accumulate: Tensor | undefined;
}

/** Gradient of x, [Σ sizes, I], by one map's weights and all maps' adapters: dy·w + du·[a; a; …], with `accumulate` added. */
export const groupedLoraGradInput = (
  { dy, du, ws, as, accumulate }: GroupedLoraGradInputs,
  attrs: GroupedMapsAttrs,
): Tensor =>
  RxGroupedLoraGradInput.run([dy, du, ...ws, ...as, ...(accumulate === undefined ? [] : [accumulate])], attrs)[0];

export interface GroupedDropoutAttrs extends GroupedAttrs {
  /** In [0, 1). */
  readonly rate: number;
  /** uint32, of each group. */
  readonly seeds: ReadonlyArray<number>;
}

export const RxGroupedDropout = namedOp(
  'RxGroupedDropout',
  ({ x }: { x: Tensor }, { sizes, rate, seeds }: GroupedDropoutAttrs): readonly [Tensor] => {
    const masks = sizes.map((size, g) =>
      tensor(dropoutMask(size * widthOf(x), { rate, seed: seeds[g] ?? 0, offset: 0 }), [size, widthOf(x)]),
    );
    return [mul(x, concat(masks, 0))];
  },
);

/** What `dropout` makes of each group's rows with the group's own seed. */
export const groupedDropout = (x: Tensor, attrs: GroupedDropoutAttrs): Tensor => RxGroupedDropout.run({ x }, attrs)[0];
