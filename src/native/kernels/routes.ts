import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { NativeBackend } from '../backend.js';
import { expectMatrix, expectVector, kernel, rowsOf, sizeOf } from '../kernel.js';

/** As in the op. */
interface Attrs {
  readonly numExperts: number;
  readonly perToken: number;
  readonly normalized: boolean;
  readonly leastSum?: number;
  readonly scores?: 'softmax' | 'sigmoid';
  readonly groups?: { readonly count: number; readonly chosen: number; readonly best: number } | undefined;
  readonly factor?: number;
  readonly tolerance?: number;
}

const putShape = (
  backend: NativeBackend,
  n: number,
  { numExperts, perToken, normalized, leastSum = 0, scores, factor = 1 }: Attrs,
): NativeBackend =>
  backend
    .put(n)
    .put(numExperts)
    .put(perToken)
    .put(Number(scores === 'sigmoid'))
    .put(Number(normalized))
    .put(leastSum)
    .put(factor);

export const routes = kernel(
  'RxRoutes',
  (
    backend,
    { logits, correction }: { logits: TensorInfo; correction?: TensorInfo | undefined },
    attrs: Attrs,
  ): TensorInfo[] => {
    const { numExperts, perToken, groups, tolerance } = attrs;
    const [n] = rowsOf('logits', logits);
    expectMatrix('logits', logits, n, numExperts);
    // Some checkpoints have it as a row.
    if (correction !== undefined && sizeOf(correction) !== numExperts)
      throw new Error(`correction has shape [${correction.shape.join(', ')}], expected ${numExperts} numbers`);
    const integers = (shape: ReadonlyArray<number>): TensorInfo => backend.output(shape, 'int32');
    const pairs = n * perToken;
    const [probabilities, chosen, weights, counts] = [
      backend.output([n, numExperts]),
      integers([n, perToken]),
      backend.output([n, perToken]),
      integers([numExperts]),
    ];
    const [order, rows, places] = [integers([pairs]), integers([pairs]), integers([n, perToken])];
    const shares = tolerance === undefined ? undefined : backend.output([pairs, numExperts]);
    putShape(backend, n, attrs)
      .put(groups?.count ?? 0)
      .put(groups?.chosen ?? 0)
      .put(groups?.best ?? 0)
      .put(Number(tolerance !== undefined))
      .put(tolerance ?? 0)
      .tensor(logits)
      .optional(correction)
      .tensor(probabilities)
      .integers(chosen)
      .tensor(weights)
      .optional(shares)
      .integers(counts)
      .integers(order)
      .integers(rows)
      .integers(places)
      .run(backend.op.routes);
    return [probabilities, chosen, weights, counts, order, rows, places, ...(shares === undefined ? [] : [shares])];
  },
);

interface GradInputs {
  readonly probabilities: TensorInfo;
  readonly chosen: TensorInfo;
  readonly weights: TensorInfo;
  readonly shares?: TensorInfo | undefined;
  readonly dWeights: TensorInfo;
  readonly slopes?: TensorInfo | undefined;
}

export const routesGrad = kernel(
  'RxRoutesGrad',
  (backend, { probabilities, chosen, weights, shares, dWeights, slopes }: GradInputs, attrs: Attrs): TensorInfo[] => {
    const { numExperts, perToken } = attrs;
    const [n] = rowsOf('probabilities', probabilities);
    expectMatrix('probabilities', probabilities, n, numExperts);
    for (const [what, info] of Object.entries({ chosen, weights, dWeights })) expectMatrix(what, info, n, perToken);
    expectMatrix('shares', shares, n * perToken, numExperts);
    expectVector('slopes', slopes, numExperts);
    const dLogits = backend.output([n, numExperts]);
    putShape(backend, n, attrs)
      .tensor(probabilities)
      .integers(chosen)
      .tensor(weights)
      .optional(shares)
      .tensor(dWeights)
      .optional(slopes)
      .tensor(dLogits)
      .run(backend.op.routesGrad);
    return [dLogits];
  },
);
