/** Attention whose scores have a part that a key has for all queries (Doge's dynamic mask): one more number of each head's queries and keys. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose, exp, fill, mul, reshape, sigmoid, tidy } from '../../tfjs.js';
import { concatColumns, splitColumns } from '../kernels/columns.js';
import { keep } from '../kernels/hold.js';
import { columnSum } from '../kernels/linear.js';
import { softplus } from '../kernels/softplus.js';
import { weightOf } from '../weights.js';
import { inactive, landedOn, onlyWanted, passed } from './layer.js';
import type { Layer } from './layer.js';

/** x [N, H] ↦ exp(a · log(1 + eˣ)), `name` being the weight a of H numbers. */
export const softplusPower =
  (name: string): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const a = weightOf(weights, name);
    const y = tidy(() => exp(mul(softplus(x), a)));
    const needWeight = wanted.weight(name);
    if (!wanted.input && !needWeight) return inactive(y);
    const kept = [keep(x), keep(y)] as const;
    return passed(y, kept, (dy, onto) => {
      const [ownX, ownY] = kept;
      const inner = mul(dy, ownY);
      dy.dispose();
      const dA = needWeight ? tidy(() => reshape(columnSum(mul(inner, softplus(ownX))), a.shape)) : undefined;
      const dx = wanted.input
        ? landedOn<Tensor>(
            tidy(() => mul(mul(inner, a), sigmoid(ownX))),
            onto,
          )
        : undefined;
      inner.dispose();
      return [onlyWanted([[name, dA]], wanted.weight), dx];
    });
  };

/** [N, heads · D] and [N, heads] as [N, heads · (D + 1)]: a number behind each head. Borrows both. */
const behindHeads = (x: Tensor, numbers: Tensor): Tensor =>
  tidy(() => {
    const [n = 0] = x.shape;
    const heads = reshape(x, [numbers.size, x.size / numbers.size]);
    return reshape(concatColumns([heads, reshape(numbers, [numbers.size, 1])]), [n, x.size / n + numbers.size / n]);
  });

/** The other way round; consumes it. */
const parted = (y: Tensor, heads: number): readonly [Tensor, Tensor] => {
  const [n = 0, width = 0] = y.shape;
  const seen = reshape(y, [n * heads, width / heads]);
  const [x, numbers] = splitColumns(seen, [width / heads - 1, 1]) as readonly [Tensor, Tensor];
  const both = [reshape(x, [n, width - heads]), reshape(numbers, [n, heads])] as const;
  dispose([y, seen, x, numbers]);
  return both;
};

/** [x, b] ↦ x [N, heads · D] with the numbers b [N, heads] behind its heads, [N, heads · (D + 1)]. */
export const joinHeads: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [x, numbers] = input as readonly [Tensor, Tensor];
  const [, heads = 0] = numbers.shape;
  const y = behindHeads(x, numbers);
  if (!wanted.input) return inactive(y);
  return passed(y, [], (dy, onto) => [{}, landedOn<ReadonlyArray<Tensor>>(parted(dy, heads), onto)]);
};

/** x [N, heads · D] with the same number behind each head. */
export const withNumber =
  (heads: number, value: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const [n = 0] = x.shape;
    const y = tidy(() => behindHeads(x, fill([n, heads], value)));
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const [dx, dNumbers] = parted(dy, heads);
      dNumbers.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
