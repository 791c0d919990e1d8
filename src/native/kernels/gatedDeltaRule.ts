import type { TensorInfo } from '@tensorflow/tfjs-core';
import { lengthEps } from '../../model/kernels/gatedDeltaRule.js';
import type { DeltaRuleAttrs } from '../../model/kernels/gatedDeltaRule.js';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, kernel, rowsOf } from '../kernel.js';

interface Inputs {
  readonly qkv: TensorInfo;
  readonly decay: TensorInfo;
  readonly rate: TensorInfo;
}

/** Puts what both ways share and returns the number of rows. */
const putShared = (
  backend: NativeBackend,
  { qkv, decay, rate }: Inputs,
  { keyHeads, valueHeads, keyDim, valueDim }: DeltaRuleAttrs,
): number => {
  const [n] = rowsOf('qkv', qkv);
  expectMatrix('qkv', qkv, n, 2 * keyHeads * keyDim + valueHeads * valueDim);
  expectMatrix('decay', decay, n, valueHeads);
  expectMatrix('rate', rate, n, valueHeads);
  backend.put(n).put(keyHeads).put(valueHeads).put(keyDim).put(valueDim).put(lengthEps);
  backend.value(qkv).tensor(decay).tensor(rate);
  return n;
};

export const gatedDeltaRule = kernel(
  'RxGatedDeltaRule',
  (
    backend,
    { state, ...inputs }: Inputs & { readonly state?: TensorInfo | undefined },
    attrs: DeltaRuleAttrs & { readonly keeps: boolean },
  ) => {
    const { cuSeqlens, valueHeads, keyDim, valueDim, keeps } = attrs;
    const shape = [(cuSeqlens.length - 1) * valueHeads * keyDim, valueDim] as const;
    expectMatrix('state', state, ...shape);
    const [n] = rowsOf('qkv', inputs.qkv);
    const out = backend.outputAs(backend.liesHalved(inputs.qkv), [n, valueHeads * valueDim]);
    const last = keeps ? backend.output(shape) : undefined;
    putShared(backend, inputs, attrs);
    backend.optional(state).value(out).optional(last).run(backend.op.gatedDeltaRule, cuSeqlens);
    return last === undefined ? [out] : [out, last];
  },
);

export const gatedDeltaRuleGrad = kernel(
  'RxGatedDeltaRuleGrad',
  (backend, { dOut, ...inputs }: Inputs & { readonly dOut: TensorInfo }, attrs: DeltaRuleAttrs) => {
    const { cuSeqlens, valueHeads, valueDim } = attrs;
    const dQkv = backend.outputAs(backend.liesHalved(dOut), inputs.qkv.shape);
    const dDecay = backend.output(inputs.decay.shape);
    const dRate = backend.output(inputs.rate.shape);
    const n = putShared(backend, inputs, attrs);
    expectMatrix('dOut', dOut, n, valueHeads * valueDim);
    backend.value(dOut).value(dQkv).tensor(dDecay).tensor(dRate).run(backend.op.gatedDeltaRuleGrad, cuSeqlens);
    return [dQkv, dDecay, dRate];
  },
);
