import type { Tensor } from '@tensorflow/tfjs-core';
import { div, maximum, mean, mul, relu, sign, sqrt, square, sub, tidy } from '../../tfjs.js';
import { clone } from '../kernels/clone.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';
import { timesRows } from './rowFactors.js';

/** What a mean square counts at least, where it divides. */
const least = 1e-5;

/** [y, x] ↦ y, each row of which is as long as that of x: y · √(mean x² / max(mean y², 10⁻⁵)). */
export const asLongAs: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [y, x] = input as readonly [Tensor, Tensor];
  const [own, wish, moves, value] = tidy<[Tensor, Tensor, Tensor, Tensor]>(() => {
    const squares = mean(square(y), 1, true);
    const length = sqrt(maximum(squares, least));
    const aim = sqrt(mean(square(x), 1, true));
    return [length, aim, sign(relu(sub(squares, least))), timesRows(y, div(aim, length))];
  });
  if (!wanted.input) {
    for (const tensor of [own, wish, moves]) tensor.dispose();
    return inactive(value);
  }
  const kept = [clone(y), clone(x)] as const;
  return passed(value, [own, wish, moves, ...kept], (dValue, onto) => {
    const [from, to] = kept;
    const [dy, dx] = tidy<[Tensor, Tensor]>(() => {
      const along = mean(mul(dValue, from), 1, true);
      // Below the least length of y its own does not matter.
      const ofLength = div(mul(mul(wish, along), moves), mul(own, square(own)));
      return [
        sub(timesRows(dValue, div(wish, own)), timesRows(from, ofLength)),
        timesRows(to, div(along, mul(own, wish))),
      ];
    });
    dValue.dispose();
    return [{}, landedOn<ReadonlyArray<Tensor>>([dy, dx], onto)];
  });
};
