import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Inputs {
  readonly x: TensorInfo;
  readonly weight: TensorInfo;
  readonly bias?: TensorInfo | undefined;
}

interface Attrs {
  readonly cuSeqlens: Int32Array;
  readonly silu: boolean;
  readonly gated: boolean;
}

/** Rows, channels and taps. */
const sizesOf = ({ x, weight, bias }: Inputs, { gated }: Attrs): readonly [number, number, number] => {
  const [n, width] = rowsOf('x', x);
  const channels = gated ? width / 3 : width;
  const [ofWeight, one, taps] = weight.shape;
  if (weight.shape.length !== 3 || ofWeight !== channels || one !== 1 || taps === undefined)
    throw new Error(`weight has shape [${weight.shape.join(', ')}], expected [${channels}, 1, taps]`);
  expectVector('bias', bias, channels);
  return [n, channels, taps];
};

export const causalConv = kernel('RxCausalConv', (backend, inputs: Inputs, attrs: Attrs) => {
  const { cuSeqlens, silu, gated } = attrs;
  const [n, channels, taps] = sizesOf(inputs, attrs);
  const { x, weight, bias } = inputs;
  const y = backend.outputAs(backend.liesHalved(x), [n, channels]);
  backend.put(n).put(channels).put(taps).put(Number(silu)).put(Number(gated));
  backend.value(x).tensor(weight).optional(bias).value(y);
  backend.run(backend.op.causalConv, cuSeqlens);
  return [y];
});

export const causalConvGrad = kernel(
  'RxCausalConvGrad',
  (backend, inputs: Inputs & { readonly dy: TensorInfo }, attrs: Attrs & { readonly needWeights: boolean }) => {
    const { cuSeqlens, silu, gated, needWeights } = attrs;
    const [n, channels, taps] = sizesOf(inputs, attrs);
    const { dy, x, weight, bias } = inputs;
    expectMatrix('dy', dy, n, channels);
    const dx = backend.outputAs(backend.liesHalved(dy), x.shape);
    const dWeight = needWeights ? backend.output(weight.shape) : undefined;
    const dBias = needWeights && bias !== undefined ? backend.output([channels]) : undefined;
    backend.put(n).put(channels).put(taps).put(Number(silu)).put(Number(gated));
    backend
      .value(dy)
      .value(x)
      .tensor(weight)
      .optional(bias)
      .value(dx)
      .optional(dWeight)
      .optional(dBias)
      .run(backend.op.causalConvGrad, cuSeqlens);
    return [dx, ...(dWeight === undefined ? [] : [dWeight]), ...(dBias === undefined ? [] : [dBias])];
  },
);
