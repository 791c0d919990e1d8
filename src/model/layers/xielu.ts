import type { Tensor } from '@tensorflow/tfjs-core';
import { keep } from '../kernels/hold.js';
import { xielu as activate, xieluGrad } from '../kernels/xielu.js';
import { weightOf } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, onlyWanted, passed } from './layer.js';

/** The numbers that a module's xIELU trains. */
export const xieluSpec = (module: string): ReadonlyArray<TensorSpec> => [
  { name: `${module}.alpha_p`, shape: [1], kind: 'bias' },
  { name: `${module}.alpha_n`, shape: [1], kind: 'bias' },
];

/** xIELU, elementwise, by the module's `alpha_p` and `alpha_n`. */
export const xielu =
  (module: string): Layer<Tensor, Tensor> =>
  (weights, x, wanted) => {
    const [nameP, nameN] = [`${module}.alpha_p`, `${module}.alpha_n`];
    const alphas = { alphaP: weightOf(weights, nameP), alphaN: weightOf(weights, nameN) };
    const y = activate({ x, ...alphas });
    const needWeights = wanted.weight(nameP) || wanted.weight(nameN);
    if (!wanted.input && !needWeights) return inactive(y);
    const kept = keep(x);
    return passed(y, [kept], (dy, onto) => {
      const { dx, dAlphaP, dAlphaN } = xieluGrad({ x: kept, dy, ...alphas }, needWeights);
      dy.dispose();
      if (!wanted.input) dx.dispose();
      const gradients = onlyWanted(
        [
          [nameP, dAlphaP],
          [nameN, dAlphaN],
        ],
        wanted.weight,
      );
      return [gradients, wanted.input ? landedOn(dx, onto) : undefined];
    });
  };
