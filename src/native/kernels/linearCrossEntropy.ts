import type { TensorInfo } from '@tensorflow/tfjs-core';
import { expectMatrix, expectVector, kernel, rowsOf } from '../kernel.js';

interface Attrs {
  readonly targets: Int32Array;
  readonly weights: Float32Array;
  readonly labelSmoothing: number;
  readonly softcap?: number | undefined;
  readonly variant: 'nll' | 'dft';
  readonly gradient: boolean;
  readonly needWeight: boolean;
}

export const linearCrossEntropy = kernel(
  'RxLinearCrossEntropy',
  (backend, { h, w, bias }: { h: TensorInfo; w: TensorInfo; bias?: TensorInfo | undefined }, attrs: Attrs) => {
    const { targets, weights, labelSmoothing, softcap = 0, variant, gradient, needWeight } = attrs;
    const m = targets.length;
    const [vocabSize, columns] = rowsOf('w', w);
    expectMatrix('h', h, m, columns);
    expectVector('bias', bias, vocabSize);
    const total = backend.output([]);
    const loss = backend.output([m]);
    const correct = backend.output([m]);
    const entropy = backend.output([m]);
    const dh = gradient ? backend.output([m, columns]) : undefined;
    const dW = gradient && needWeight ? backend.output([vocabSize, columns]) : undefined;
    const dBias = dW !== undefined && bias !== undefined ? backend.output([vocabSize]) : undefined;
    backend
      .put(m)
      .put(columns)
      .put(vocabSize)
      .put(labelSmoothing)
      .put(softcap)
      .put(Number(variant === 'dft'));
    backend.tensor(h).matrix(w).optional(bias).tensor(total).tensor(loss).tensor(correct).tensor(entropy);
    backend.optional(dh).optional(dW).optional(dBias).put(0);
    backend.run(backend.op.linearCrossEntropy, targets, weights);
    return [total, loss, correct, entropy, dh, dW, dBias].filter((output) => output !== undefined);
  },
);
