/** Trials of what goes by rows and elements: norms, tables, activations, columns, updates of weights. */
import fc from 'fast-check';
import { RxActivation, RxActivationGrad } from '../../../src/model/kernels/activation.js';
import { RxAdamW } from '../../../src/model/kernels/adamW.js';
import { RxAdd } from '../../../src/model/kernels/add.js';
import { RxAxpy } from '../../../src/model/kernels/axpy.js';
import { RxClampedGate, RxClampedGateGrad } from '../../../src/model/kernels/clampedGate.js';
import { RxConcatColumns, RxSplitColumns } from '../../../src/model/kernels/columns.js';
import { RxCombineRows, RxCombineRowsGrad } from '../../../src/model/kernels/combineRows.js';
import { RxDropout } from '../../../src/model/kernels/dropout.js';
import { RxAddRows, RxEmbedding, RxEmbeddingGrad } from '../../../src/model/kernels/embedding.js';
import { RxGatedActivation, RxGatedActivationGrad } from '../../../src/model/kernels/gatedActivation.js';
import { RxGatherRows, RxGatherRowsAt, RxScatterRows } from '../../../src/model/kernels/gatherRows.js';
import { RxInt8Activations } from '../../../src/model/kernels/int8Activations.js';
import { RxLayerNorm, RxLayerNormGrad } from '../../../src/model/kernels/layerNorm.js';
import { RxRmsNorm, RxRmsNormGrad } from '../../../src/model/kernels/rmsNorm.js';
import { RxScale } from '../../../src/model/kernels/scale.js';
import { RxSquaredNorm } from '../../../src/model/kernels/squaredNorm.js';
import { RxXielu, RxXieluGrad } from '../../../src/model/kernels/xielu.js';
import type { Values } from '../../../test/native.js';
import { permutation } from '../../arbitraries/ops.js';
import { kinds, maker, seeds, size } from './drawn.js';
import { trial, withIntegers } from './trial.js';

export const norms = fc
  .record({ n: size(40), c: size(100), needWeights: fc.boolean(), hasBias: fc.boolean(), seed: seeds })
  .chain(({ n, c, needWeights, hasBias, seed }) => {
    const { values, positive, maybe } = maker(seed);
    const x = values(n, c);
    const gain = values(c);
    const grad = { dy: values(n, c), x, gain, rstd: positive(n), dResidual: maybe(() => values(n, c)) };
    const keeps = needWeights;
    return fc.constantFrom(
      trial(RxLayerNorm, { x, gain, bias: hasBias ? values(c) : undefined }, { eps: 1e-3, keeps }, { tolerance: 1e-4 }),
      trial(RxLayerNormGrad, { ...grad, mean: values(n) }, { hasBias, needWeights }, { tolerance: 1e-4 }),
      trial(RxRmsNorm, { x, gain }, { eps: 1e-3, offset: hasBias ? 1 : 0, keeps }, { tolerance: 1e-4 }),
      trial(RxRmsNormGrad, grad, { offset: hasBias ? 1 : 0, needWeights }, { tolerance: 1e-4 }),
    );
  });

export const rows = fc.record({ n: size(40), c: size(50), m: size(40), seed: seeds }).chain(({ n, c, m, seed }) => {
  const { values, ids } = maker(seed);
  const dy = values(m, c);
  return fc.constantFrom(
    trial(RxEmbedding, { table: values(n, c) }, { ids: ids(m, n) }),
    trial(RxEmbeddingGrad, { dy }, { ids: ids(m, n), vocabSize: n }),
    trial(
      RxAddRows,
      { table: values(n, c), x: values(Math.min(m, n), c) },
      { rows: Int32Array.from({ length: Math.min(m, n) }, (_, i) => n - 1 - i) },
      { inPlace: ['table'] },
    ),
    trial(RxGatherRows, { x: values(n, c) }, { rows: ids(m, n) }),
    trial(withIntegers(RxGatherRowsAt, 'rows'), { x: values(n, c) }, { rows: ids(m, n) }),
    trial(RxScatterRows, { dy }, { rows: ids(m, n), size: n }),
  );
});

export const combined = fc
  .record({ n: size(30), perRow: size(5), c: size(50), weighs: fc.boolean(), seed: seeds })
  .chain(({ n, perRow, c, weighs, seed }) => {
    const { values } = maker(seed);
    const places = permutation(seed, n * perRow);
    const x = values(n * perRow, c);
    const weights = values(n, perRow);
    return fc.constantFrom(
      trial(
        withIntegers(RxCombineRows, 'places'),
        { x, weights: weighs ? weights : undefined },
        { perRow, ...(seed % 3 === 0 ? {} : { places }) },
      ),
      trial(
        withIntegers(RxCombineRowsGrad, 'places'),
        { dy: values(n, c), x, weights },
        { perRow, ...(seed % 3 === 0 ? {} : { places }) },
        { tolerance: 1e-4, rough: true },
      ),
    );
  });

export const elementwise = fc
  .record({ n: size(40), f: size(100), kind: kinds, seed: seeds })
  .chain(({ n, f, kind, seed }) => {
    const { values, next } = maker(seed);
    const wide = (): Values => {
      const v = values(n, f);
      return { shape: v.shape, values: v.values.map((x) => 6 * x) };
    };
    const [x, dy] = [wide(), values(n, f)];
    const y = { shape: x.shape, values: x.values.slice() };
    return fc.constantFrom(
      trial(RxActivation, { x }, { kind }),
      trial(RxActivationGrad, { x, dy }, { kind }),
      trial(RxGatedActivation, { gate: x, up: dy }, { kind }),
      trial(RxGatedActivationGrad, { gate: x, up: wide(), dy }, { kind }),
      trial(RxXielu, { x, alphaP: values(1), alphaN: values(1) }, {}, { tolerance: 1e-5 }),
      trial(
        RxXieluGrad,
        { x, alphaP: values(1), alphaN: values(1), dy },
        { needWeights: next() < 0.5 },
        { rough: true },
      ),
      trial(RxClampedGate, { gate: x, up: dy }, { limit: 0.9 }),
      trial(RxClampedGateGrad, { gate: x, up: wide(), dy }, { limit: 1.3 }),
      trial(RxAdd, { a: x, b: dy }, {}),
      trial(RxScale, { x }, { factor: -1.25 }),
      trial(RxAxpy, { y, x: dy }, { alpha: 0.3 }, { inPlace: ['y'] }),
      trial(
        RxDropout,
        { x },
        { rate: next() * 0.9, seed: Math.floor(next() * 2 ** 32), offset: Math.floor(next() * 2 ** 34) },
      ),
    );
  });

export const columns = fc
  .record({ n: size(30), sizes: fc.array(size(40), { minLength: 1, maxLength: 4 }), seed: seeds })
  .chain(({ n, sizes, seed }) => {
    const { values } = maker(seed);
    const parts = sizes.map((c) => values(n, c));
    return fc.constantFrom(
      trial(
        RxSplitColumns,
        {
          x: values(
            n,
            sizes.reduce((a, b) => a + b, 0),
          ),
        },
        { sizes },
      ),
      trial(RxConcatColumns, parts, {}),
      trial(RxSquaredNorm, parts, {}),
    );
  });

export const updates = fc
  .record({
    shapes: fc.array(fc.tuple(size(20), size(30)), { minLength: 1, maxLength: 5 }),
    step: size(30),
    seed: seeds,
  })
  .map(({ shapes, step, seed }) => {
    const { values, positive } = maker(seed);
    const n = shapes.length;
    const all = (make: (...shape: ReadonlyArray<number>) => Values): ReadonlyArray<Values> =>
      shapes.map(([r, c]) => make(r, c));
    return trial(
      RxAdamW,
      [...all(values), ...all(values), ...all(values), ...all(positive)],
      {
        n,
        learningRate: 0.01,
        beta1: 0.9,
        beta2: 0.99,
        epsilon: 1e-6,
        weightDecay: Float32Array.from(shapes, (_, i) => (i % 2 === 0 ? 0.1 : 0)),
        step,
        gradScale: 0.5,
      },
      { inPlace: [0, 2, 3].flatMap((part) => shapes.map((_, i) => part * n + i)) },
    );
  });

export const activations8 = fc
  .record({ n: size(9), columns: size(70), seed: fc.nat(), threshold: fc.constantFrom(2, 6, Infinity) })
  .map(({ n, columns, seed, threshold }) =>
    trial(RxInt8Activations, { x: maker(seed).values(n, columns) }, { threshold }),
  );
