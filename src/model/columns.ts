import type { Tensor } from '@tensorflow/tfjs-core';
import { concatColumns, splitColumns as split } from './kernels/columns.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';

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
