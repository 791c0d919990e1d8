/** Rows of a table at the ids of a sequence, with what an adapter makes of them. */
import { div, mul, sum, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { adaptedNorms } from './dora.js';
import { add } from './kernels/add.js';
import { embedding as embed, embeddingGrad } from './kernels/embedding.js';
import { gatherRows } from './kernels/gatherRows.js';
import { linear, linearGradInput, linearGradWeight } from './kernels/linear.js';
import { scale } from './kernels/scale.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';
import { adapterOptions, embeddingAdapterNames, tokenIndicesOf, tokenRowsName } from './lora.js';
import type { Pass } from './pass.js';
import { putRows } from './putRows.js';
import type { Sequence } from './sequence.js';
import { transposeMatrix } from './transposeMatrix.js';
import { weightOf } from './weights.js';

/** Kernels do not look: an id outside the table would read what lies beside it. */
const checked = (ids: Int32Array, rows: number, name: string): void => {
  const wrong = ids.find((id) => id < 0 || id >= rows);
  if (wrong !== undefined) throw new RangeError(`"${name}" has ${rows} rows, and row ${wrong} was asked for`);
};

type Ids = (sequence: Sequence) => Int32Array;

const plain =
  (module: string, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const name = `${module}.weight`;
    const table = weightOf(weights, name);
    const ids = idsOf(sequence);
    const [vocabSize = 0] = table.shape;
    checked(ids, vocabSize, name);
    const value = embed(table, ids);
    if (!wanted.weight(name)) return inactive(value);
    return passed<Sequence, Tensor>(value, [], (dy) => {
      const gradient = embeddingGrad(dy, ids, vocabSize);
      dy.dispose();
      return [{ [name]: gradient }, undefined];
    });
  };

/** The table's rows, but for those of `trained` ids, which lie in a table of their own, [k, C]. Only that one trains. */
const withTokenRows =
  (module: string, trained: ReadonlyArray<number>, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const name = tokenRowsName(module);
    const own = weightOf(weights, name);
    const rowOf = new Map(trained.map((id, row) => [id, row]));
    const found = Array.from(idsOf(sequence)).flatMap((id, place) => {
      const row = rowOf.get(id);
      return row === undefined ? [] : [{ place, row }];
    });
    const base = plain(module, idsOf)(weights, sequence, { weight: () => false, input: false }).value;
    if (found.length === 0) return inactive(base);
    const places = Int32Array.from(found, ({ place }) => place);
    const which = Int32Array.from(found, ({ row }) => row);
    const rows = embed(own, which);
    const value = putRows(base, rows, Array.from(places));
    base.dispose();
    rows.dispose();
    if (!wanted.weight(name)) return inactive(value);
    return passed<Sequence, Tensor>(value, [], (dy) => {
      const there = gatherRows(dy, places);
      dy.dispose();
      const gradient = embeddingGrad(there, which, trained.length);
      there.dispose();
      return [{ [name]: gradient }, undefined];
    });
  };

/**
 * W[id] + s·A[:, id]ᵀ·Bᵀ, and with DoRA m ∘ that / ‖W + s·(B·A)ᵀ‖, lengths of columns: an embedding is a Conv1D that reads one-hot
 * rows. PEFT's has no dropout.
 */
const adapted =
  (pass: Pass, module: string, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const names = embeddingAdapterNames(module);
    const ids = idsOf(sequence);
    const a = weightOf(weights, names.a);
    const b = weightOf(weights, names.b);
    const magnitude = weights[names.magnitude];
    const { scaling } = adapterOptions(pass.lora, module, a);
    const attrs = { transposed: true, scaling };
    const [, vocabSize = 0] = a.shape;
    const base = plain(module, idsOf)(weights, sequence, wanted);
    const aT = transposeMatrix(a);
    const u = embed(aT, ids);
    aT.dispose();
    const change = tidy(() => scale(linear(u, b, undefined, { transposed: false }), scaling));
    const z = add(base.value, change);
    change.dispose();
    base.value.dispose();
    const lengths =
      magnitude === undefined ? undefined : adaptedNorms({ w: weightOf(weights, `${module}.weight`), a, b }, attrs);
    const factor = lengths === undefined || magnitude === undefined ? undefined : div(magnitude, lengths);
    const y = factor === undefined ? z.clone() : mul(z, factor);
    const kept = [z, u, ...(lengths === undefined ? [] : [lengths]), ...(factor === undefined ? [] : [factor])];
    if (!base.active && ![names.a, names.b, names.magnitude].some((name) => name in weights && wanted.weight(name))) {
      for (const tensor of kept) tensor.dispose();
      return inactive(y);
    }
    return passed<Sequence, Tensor>(y, kept, (dy) => {
      const gradients: Record<string, Tensor> = {};
      if (lengths !== undefined && wanted.weight(names.magnitude))
        gradients[names.magnitude] = tidy(() => div(sum(mul(dy, z), 0), lengths));
      const dz = factor === undefined ? dy.clone() : mul(dy, factor);
      dy.dispose();
      const scaled = scale(dz, scaling);
      if (wanted.weight(names.b)) gradients[names.b] = linearGradWeight(u, scaled, { transposed: false });
      if (wanted.weight(names.a))
        gradients[names.a] = tidy(() => {
          const du = linearGradInput(scaled, b, undefined, { transposed: false });
          return transposeMatrix(embeddingGrad(du, ids, vocabSize));
        });
      scaled.dispose();
      const [ofTable] = base.pullback(dz);
      return [{ ...gradients, ...ofTable }, undefined];
    });
  };

const lookUp =
  (pass: Pass, module: string, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const layer = ((): Layer<Sequence, Tensor> => {
      if (pass.lora === undefined) return plain(module, idsOf);
      if (embeddingAdapterNames(module).a in weights) return adapted(pass, module, idsOf);
      const trained = tokenIndicesOf(pass.lora, module);
      return trained !== undefined && tokenRowsName(module) in weights
        ? withTokenRows(module, trained, idsOf)
        : plain(module, idsOf);
    })();
    return layer(weights, sequence, wanted);
  };

/** The rows of `<module>.weight` at the token ids, [N, C], and what an adapter of the module makes of them. */
export const tokenEmbedding = (pass: Pass, module: string): Layer<Sequence, Tensor> =>
  lookUp(pass, module, ({ inputIds }) => inputIds);

/** The rows of `<module>.weight` at position + offset (OPT's table begins with two rows of its own). */
export const positionEmbedding = (pass: Pass, module: string, offset = 0): Layer<Sequence, Tensor> =>
  lookUp(pass, module, ({ positionIds }) =>
    offset === 0 ? positionIds : positionIds.map((position) => position + offset),
  );

/** factor·x. */
export const scaled =
  (factor: number): Layer<Tensor, Tensor> =>
  (_weights, x, wanted) => {
    const y = scale(x, factor);
    if (!wanted.input) return inactive(y);
    return passed(y, [], (dy, onto) => {
      const dx = scale(dy, factor);
      dy.dispose();
      return [{}, landedOn(dx, onto)];
    });
  };
