/** Trials of products: with weights, with adapters, of groups of rows, and of the head with its loss. */
import fc from 'fast-check';
import {
  RxGroupedColumnSum,
  RxGroupedLinear,
  RxGroupedLinearGradInput,
  RxGroupedLinearGradWeight,
} from '../../../src/model/kernels/groupedLinear.js';
import {
  RxGroupedDropout,
  RxGroupedLoraDown,
  RxGroupedLoraDownGrad,
  RxGroupedLoraGradInput,
  RxGroupedLoraUp,
  RxGroupedLoraUpGrad,
} from '../../../src/model/kernels/groupedLora.js';
import { RxColumnSum, RxLinear, RxLinearGradInput, RxLinearGradWeight } from '../../../src/model/kernels/linear.js';
import { RxLinearCrossEntropy } from '../../../src/model/kernels/linearCrossEntropy.js';
import {
  RxLoraDown,
  RxLoraDownGrad,
  RxLoraLinear,
  RxLoraLinearGrad,
  RxLoraUp,
  RxLoraUpGrad,
} from '../../../src/model/kernels/loraLinear.js';
import { maker, seeds, size } from './drawn.js';
import { trial } from './trial.js';

export const linear = fc
  .record({ n: size(70), i: size(90), o: size(90), transposed: fc.boolean(), seed: seeds })
  .chain(({ n, i, o, transposed, seed }) => {
    const { values, maybe } = maker(seed);
    const w = transposed ? values(i, o) : values(o, i);
    return fc.constantFrom(
      trial(RxLinear, { x: values(n, i), w, bias: maybe(() => values(o)) }, { transposed }),
      trial(RxLinearGradInput, { dy: values(n, o), w, accumulate: maybe(() => values(n, i)) }, { transposed }),
      trial(RxLinearGradWeight, { x: values(n, i), dy: values(n, o) }, { transposed }),
      trial(RxColumnSum, { dy: values(n, o) }, {}),
    );
  });

export const lora = fc
  .record({
    n: size(50),
    i: size(60),
    o: size(60),
    r: size(20),
    transposed: fc.boolean(),
    needInput: fc.boolean(),
    dropped: fc.boolean(),
    seed: seeds,
  })
  .chain(({ n, i, o, r, transposed, needInput, dropped, seed }) => {
    const { values, maybe, below } = maker(seed);
    const w = transposed ? values(i, o) : values(o, i);
    const shared = { x: values(n, i), w, a: values(r, i), b: values(o, r) };
    return fc.constantFrom(
      trial(
        RxLoraLinear,
        { ...shared, bias: maybe(() => values(o)), xDropped: dropped ? values(n, i) : undefined },
        { transposed, scaling: 1.75 },
      ),
      trial(
        RxLoraLinearGrad,
        { ...shared, dy: values(n, o), u: values(n, r), accumulate: maybe(() => values(n, i)) },
        { transposed, scaling: 0.5, needInput, dropped },
      ),
      trial(
        RxLoraUp,
        { x: values(n, i), w, b: values(o, r), u: values(n, r + i), bias: maybe(() => values(o)) },
        { transposed, scaling: 1.75, first: below(i + 1) },
      ),
      trial(RxLoraDown, [values(n, i), values(r, i), values(o, i), values(1, i)], {}),
      trial(RxLoraDownGrad, [values(n, i), values(n, r + o), values(r, i), values(o, i)], { needInput }),
      trial(
        RxLoraUpGrad,
        [values(n, r + 3 + i), values(n, o), values(o, r), values(n, i), values(i, 3), values(n, 1), values(1, i)],
        { scaling: [0.5, 2, 1] },
      ),
    );
  });

export const grouped = fc
  .record({
    i: size(40),
    o: size(40),
    sizes: fc.array(size(20), { minLength: 1, maxLength: 4 }),
    biased: fc.boolean(),
    accumulates: fc.boolean(),
    seed: seeds,
  })
  .chain(({ i, o, sizes, biased, accumulates, seed }) => {
    const { values } = maker(seed);
    const rows = sizes.reduce((a, b) => a + b, 0);
    const [x, dy] = [values(rows, i), values(rows, o)];
    const ws = sizes.map(() => values(o, i));
    const biases = biased ? sizes.map(() => values(o)) : [];
    const accumulate = accumulates ? [values(rows, i)] : [];
    return fc.constantFrom(
      trial(RxGroupedLinear, [x, ...ws, ...biases], { sizes }),
      trial(RxGroupedLinearGradInput, [dy, ...ws, ...accumulate], { sizes }),
      trial(RxGroupedLinearGradWeight, { x, dy }, { sizes }),
      trial(RxGroupedColumnSum, { dy }, { sizes }),
    );
  });

export const groupedAdapters = fc
  .record({
    i: size(40),
    outs: fc.array(size(40), { minLength: 1, maxLength: 3 }),
    sizes: fc.array(size(20), { minLength: 1, maxLength: 4 }),
    biased: fc.boolean(),
    accumulates: fc.boolean(),
    seed: seeds,
  })
  .chain(({ i, outs, sizes, biased, accumulates, seed }) => {
    const { values, below, next } = maker(seed);
    const rows = sizes.reduce((a, b) => a + b, 0);
    const maps = outs.map((o) => {
      const rank = 1 + below(9);
      return {
        rank,
        dy: values(rows, o),
        ws: sizes.map(() => values(o, i)),
        as: sizes.map(() => values(rank, i)),
        bs: sizes.map(() => values(o, rank)),
        biases: biased ? sizes.map(() => values(o)) : [],
        scaling: 2 * next(),
      };
    });
    const ranks = maps.map(({ rank }) => rank);
    const total = ranks.reduce((a, b) => a + b, 0);
    const at = below(maps.length);
    const [x, u, du] = [values(rows, i), values(rows, total), values(rows, total)];
    const { dy, ws, bs, biases, scaling } = maps[at] ?? { dy: x, ws: [], bs: [], biases: [], scaling: 1 };
    const as = maps.flatMap((map) => map.as);
    const first = ranks.slice(0, at).reduce((a, b) => a + b, 0);
    const accumulate = accumulates ? [values(rows, i)] : [];
    const dropped = { sizes, rate: 0.3, seeds: sizes.map(() => below(2 ** 32)) };
    return fc.constantFrom(
      trial(RxGroupedLoraDown, [x, ...as], { sizes, maps: maps.length }),
      trial(RxGroupedLoraUp, [x, u, ...ws, ...bs, ...biases], { sizes, scaling, first }),
      trial(RxGroupedLoraUpGrad, [u, ...maps.flatMap((map) => [map.dy, ...map.bs])], {
        sizes,
        scaling: maps.map((map) => map.scaling),
      }),
      trial(RxGroupedLoraDownGrad, { x, du }, { sizes, ranks }),
      trial(RxGroupedLoraGradInput, [dy, du, ...ws, ...as, ...accumulate], { sizes, maps: maps.length }),
      trial(RxGroupedDropout, { x }, dropped),
    );
  });

export const losses = fc
  .record({
    m: size(40),
    c: size(40),
    v: size(90),
    labelSmoothing: fc.constantFrom(0, 0.1),
    softcap: fc.constantFrom(undefined, 0.8, 4),
    variant: fc.constantFrom('nll', 'dft'),
    gradient: fc.boolean(),
    needWeight: fc.boolean(),
    seed: seeds,
  })
  .map(({ m, c, v, labelSmoothing, softcap, variant, gradient, needWeight, seed }) => {
    const { values, positive, ids, maybe } = maker(seed);
    return trial(
      RxLinearCrossEntropy,
      { h: values(m, c), w: values(v, c), bias: maybe(() => values(v)) },
      { targets: ids(m, v), weights: positive(m).values, labelSmoothing, softcap, variant, gradient, needWeight },
      { tolerance: 1e-4 },
    );
  });
