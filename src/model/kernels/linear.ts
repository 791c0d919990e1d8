import type { Tensor } from '@tensorflow/tfjs-core';
import { add, matMul, sum } from '../../tfjs.js';
import { namedOp } from './namedOp.js';

/** `transposed` false: w is [O, I] (nn.Linear); true: w is [I, O] (GPT-2's Conv1D). */
export interface LinearAttrs {
  readonly transposed: boolean;
  /** The result is one of a model's activations or their gradients: an engine that computes in bfloat16 may let it lie so. */
  readonly flows?: boolean;
}

interface LinearInputs {
  readonly x: Tensor;
  readonly w: Tensor;
  readonly bias?: Tensor | undefined;
}

export const RxLinear = namedOp(
  'RxLinear',
  ({ x, w, bias }: LinearInputs, { transposed }: LinearAttrs): readonly [Tensor] => {
    const y = matMul(x, w, false, !transposed);
    return [bias === undefined ? y : add(y, bias)];
  },
);

/** x [N, I] times the weight, plus bias [O] if any: [N, O]. */
export const linear = (x: Tensor, w: Tensor, bias: Tensor | undefined, attrs: LinearAttrs): Tensor =>
  RxLinear.run({ x, w, bias }, attrs)[0];

interface LinearGradInputInputs {
  readonly dy: Tensor;
  readonly w: Tensor;
  readonly accumulate?: Tensor | undefined;
}

export const RxLinearGradInput = namedOp(
  'RxLinearGradInput',
  ({ dy, w, accumulate }: LinearGradInputInputs, { transposed }: LinearAttrs): readonly [Tensor] => {
    const dx = matMul(dy, w, false, transposed);
    return [accumulate === undefined ? dx : add(dx, accumulate)];
  },
);

/** Gradient of x, [N, I], from dy [N, O], with `accumulate` [N, I] added. */
export const linearGradInput = (dy: Tensor, w: Tensor, accumulate: Tensor | undefined, attrs: LinearAttrs): Tensor =>
  RxLinearGradInput.run({ dy, w, accumulate }, attrs)[0];

export const RxLinearGradWeight = namedOp(
  'RxLinearGradWeight',
  ({ x, dy }: { x: Tensor; dy: Tensor }, { transposed }: LinearAttrs): readonly [Tensor] => [
    transposed ? matMul(x, dy, true, false) : matMul(dy, x, true, false),
  ],
);

/** Gradient of the weight, in the weight's own layout. */
export const linearGradWeight = (x: Tensor, dy: Tensor, attrs: LinearAttrs): Tensor =>
  RxLinearGradWeight.run({ x, dy }, attrs)[0];

export const RxColumnSum = namedOp('RxColumnSum', ({ dy }: { dy: Tensor }, _attrs: object): readonly [Tensor] => [
  sum(dy, 0),
]);

/** Sum over rows, [N, O] → [O]: the gradient of a bias. */
export const columnSum = (dy: Tensor): Tensor => RxColumnSum.run({ dy }, {})[0];
