import type { Tensor } from '@tensorflow/tfjs-core';
import { dispose, mul, reshape, sigmoid, tidy } from '../../tfjs.js';
import { combineRows, combineRowsGrad } from '../kernels/combineRows.js';
import { keep } from '../kernels/hold.js';
import { softplus } from '../kernels/softplus.js';
import { inactive, landedOn, passed } from './layer.js';
import type { Layer } from './layer.js';

/** [g, x] ↦ log(1 + e^g)·x, of g [N, gates] and x [N, C]: each gate for C / gates columns that lie beside each other. */
export const softplusGate: Layer<ReadonlyArray<Tensor>, Tensor> = (_weights, input, wanted) => {
  const [g, x] = input as readonly [Tensor, Tensor];
  const attrs = { perRow: 1 };
  const [n = 0] = x.shape;
  const apart = (tensor: Tensor, width: number): Tensor => reshape(tensor, [tensor.size / width, width]);
  const joined = (tensor: Tensor, like: Tensor): Tensor => reshape(tensor, like.shape);
  const width = x.size / Math.max(g.size, 1);
  const gate = tidy(() => apart(softplus(g), 1));
  const y = tidy(() => reshape(combineRows(apart(x, width), gate, attrs), [n, -1]));
  if (!wanted.input) {
    gate.dispose();
    return inactive(y);
  }
  const kept = [keep(g), keep(x)] as const;
  return passed(y, [gate, ...kept], (dy, onto) => {
    const [ownG, ownX] = kept;
    const rows = [apart(dy, width), apart(ownX, width)] as const;
    const { dx: dRows, dWeights } = combineRowsGrad(...rows, gate, attrs);
    const dx = joined(dRows, ownX);
    const dg = tidy(() => mul(joined(dWeights, ownG), sigmoid(ownG)));
    dispose([...rows, dRows, dWeights, dy]);
    return [{}, landedOn<ReadonlyArray<Tensor>>([dg, dx], onto)];
  });
};
