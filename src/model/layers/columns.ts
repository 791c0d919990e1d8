import type { Tensor } from '@tensorflow/tfjs-core';
import { reshape } from '../../tfjs.js';
import { clone } from '../kernels/clone.js';
import { concatColumns, splitColumns as split } from '../kernels/columns.js';
import type { Layer } from './layer.js';
import { at, inactive, landedOn, passed } from './layer.js';

/** [N, Σ sizes] ↦ its parts, [N, size] each. */
export const splitColumns =
  (sizes: ReadonlyArray<number>): Layer<Tensor, ReadonlyArray<Tensor>> =>
  (_weights, x, wanted) => {
    const parts = split(x, sizes);
    if (!wanted.input) return inactive(parts);
    return passed(parts, [], (dParts, onto) => {
      const dx = concatColumns(dParts);
      for (const part of dParts) part.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };

/** Parts side by side, [N, Σ sizes]. */
export const joinColumns: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, parts, wanted) => {
  const value = concatColumns(parts);
  if (!wanted.input) return inactive(value);
  const sizes = parts.map(({ shape: [, size = 0] }) => size);
  return passed(value, [], (dy, onto) => {
    const dParts = split(dy, sizes);
    dy.dispose();
    return [{}, landedOn(dParts, onto)];
  });
};

/** The tensor in another shape; consumes it. */
const shaped = (tensor: Tensor, shape: readonly [number, number]): Tensor => {
  const other = reshape(tensor, [...shape]);
  tensor.dispose();
  return other;
};

/** x cut into columns as [rows, Σ sizes], whatever its own shape is; borrows x. */
const cut = (x: Tensor, rows: number, sizes: ReadonlyArray<number>): ReadonlyArray<Tensor> => {
  const seen = reshape(x, [rows, x.size / rows]);
  const parts = split(seen, sizes);
  seen.dispose();
  return parts;
};

/** Parts beside each other, each seen as [rows, …]; consumes them. */
const put = (parts: ReadonlyArray<Tensor>, rows: number): Tensor => {
  const seen = parts.map((part) => shaped(part, [rows, part.size / rows]));
  const all = concatColumns(seen);
  for (const part of seen) part.dispose();
  return all;
};

/** [N, groups · Σ sizes] ↦ its parts, [N, groups · size] each: a projection that gives every group of heads its own q, k and v. */
export const splitGroups = (groups: number, sizes: ReadonlyArray<number>): Layer<Tensor, ReadonlyArray<Tensor>> => {
  if (groups === 1) return splitColumns(sizes);
  return (_weights, x, wanted) => {
    const [n = 0, width = 0] = x.shape;
    const parts: ReadonlyArray<Tensor> = cut(x, n * groups, sizes).map((part) => shaped(part, [n, part.size / n]));
    if (!wanted.input) return inactive(parts);
    return passed(parts, [], (dParts, onto) => [{}, landedOn(shaped(put(dParts, n * groups), [n, width]), onto)]);
  };
};

/** Parts of other groups: each the ones of the numbers given side by side; every number comes once. */
export const regrouped =
  (groups: ReadonlyArray<ReadonlyArray<number>>): Layer<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>> =>
  (_weights, input, wanted) => {
    const value = groups.map((group) => {
      const [only, ...others] = group.map((i) => at(input, i));
      return only !== undefined && others.length === 0 ? clone(only) : concatColumns(group.map((i) => at(input, i)));
    });
    if (!wanted.input) return inactive<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>>(value);
    const widths = input.map(({ shape: [, width = 0] }) => width);
    return passed<ReadonlyArray<Tensor>, ReadonlyArray<Tensor>>(value, [], (dValues, onto) => {
      const places = groups.flatMap((group, g) => {
        const [only, ...others] = group;
        if (only !== undefined && others.length === 0) return [{ place: only, gradient: at(dValues, g) }];
        const parts = split(
          at(dValues, g),
          group.map((i) => widths[i] ?? 0),
        );
        at(dValues, g).dispose();
        return group.map((place, i) => ({ place, gradient: at(parts, i) }));
      });
      const dInputs = places.toSorted((a, b) => a.place - b.place).map(({ gradient }) => gradient);
      return [{}, landedOn<ReadonlyArray<Tensor>>(dInputs, onto)];
    });
  };
