/** Rows of a table at the ids of a sequence, with what an adapter makes of them. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { div, mul, sum, tidy } from '../../tfjs.js';
import { adaptedNorms } from '../adapters/dora.js';
import { adapterOptions } from '../adapters/lora.js';
import { embeddingAdapterNames, tokenRowsName } from '../adapters/adapterNames.js';
import { tokenIndicesOf } from '../adapters/tokenRows.js';
import type { AdapterNames } from '../adapters/adapterNames.js';
import type { LoraConfig } from '../adapters/lora.js';
import { clone } from '../kernels/clone.js';
import { addRows, embedding as embed, embeddingGrad } from '../kernels/embedding.js';
import { gatherRows } from '../kernels/gatherRows.js';
import { linear, linearGradInput, linearGradWeight } from '../kernels/linear.js';
import { scale } from '../kernels/scale.js';
import type { Pass } from '../pass.js';
import type { Sequence } from '../sequence.js';
import { weightOf } from '../weights.js';
import type { Layer } from './layer.js';
import { compose, fanOut, inactive, landedOn, passed, total } from './layer.js';
import { putRows } from './putRows.js';
import { transposeMatrix } from './transposeMatrix.js';

/** Kernels do not look: an id outside the table would read what lies beside it. */
const checked = (ids: Int32Array, rows: number, name: string): void => {
  const wrong = ids.find((id) => id < 0 || id >= rows);
  if (wrong !== undefined) throw new RangeError(`"${name}" has ${rows} rows, and row ${wrong} was asked for`);
};

type Ids = (sequence: Sequence) => Int32Array;

/** The ids that occur, in the order in which they come first, and of each of `ids` its place among them. `rows`: all ids are below it. */
const placesOf = (ids: Int32Array, rows: number): { readonly unique: Int32Array; readonly places: Int32Array } => {
  const placeOf = new Int32Array(rows).fill(-1);
  const unique = new Int32Array(ids.length);
  const places = new Int32Array(ids.length);
  let count = 0;
  ids.forEach((id, i) => {
    const known = placeOf[id] ?? -1;
    places[i] = known === -1 ? count : known;
    if (known !== -1) return;
    placeOf[id] = count;
    unique[count++] = id;
  });
  return { unique: unique.slice(0, count), places };
};

/**
 * The gradient of a table from dy at `ids`, added to `begun`, which it consumes. Rows of one id are summed before they are added, so
 * the sum has the bits of that of two whole gradients.
 */
const addedGradient = (begun: Tensor, dy: Tensor, ids: Int32Array): Tensor => {
  const [rows = 0] = begun.shape;
  const { unique, places } = placesOf(ids, rows);
  const own = embeddingGrad(dy, places, unique.length);
  const sum = addRows(begun, own, unique);
  own.dispose();
  return sum;
};

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
      const begun = wanted.begun?.get(name);
      wanted.begun?.delete(name);
      const gradient = begun === undefined ? embeddingGrad(dy, ids, vocabSize) : addedGradient(begun, dy, ids);
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

/** s·A[:, id]ᵀ·Bᵀ: what an adapter adds to a row. PEFT's has no dropout. */
const change =
  (lora: LoraConfig, names: AdapterNames, module: string, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const ids = idsOf(sequence);
    const a = weightOf(weights, names.a);
    const b = weightOf(weights, names.b);
    const { scaling } = adapterOptions(lora, module, a);
    const [, vocabSize = 0] = a.shape;
    checked(ids, vocabSize, names.a);
    const aT = transposeMatrix(a);
    const u = embed(aT, ids); // [N, r]
    aT.dispose();
    const y = tidy(() => scale(linear(u, b, undefined, { transposed: false }), scaling));
    if (!wanted.weight(names.a) && !wanted.weight(names.b)) {
      u.dispose();
      return inactive(y);
    }
    return passed<Sequence, Tensor>(y, [u], (dy) => {
      const gradients: Record<string, Tensor> = {};
      const ds = scale(dy, scaling);
      dy.dispose();
      if (wanted.weight(names.b)) gradients[names.b] = linearGradWeight(u, ds, { transposed: false });
      if (wanted.weight(names.a))
        gradients[names.a] = tidy(() => {
          const du = linearGradInput(ds, b, undefined, { transposed: false });
          return transposeMatrix(embeddingGrad(du, ids, vocabSize));
        });
      ds.dispose();
      return [gradients, undefined];
    });
  };

/**
 * DoRA on rows z [N, C]: m ∘ z / ‖W + s·(B·A)ᵀ‖, lengths of the table's columns, which count as constants on the way back (dora.ts):
 * an embedding is a Conv1D that reads one-hot rows.
 */
const lengthened =
  (lora: LoraConfig, names: AdapterNames, module: string): Layer<Tensor, Tensor> =>
  (weights, z, wanted) => {
    const [a, b] = [weightOf(weights, names.a), weightOf(weights, names.b)];
    const { scaling } = adapterOptions(lora, module, a);
    const w = weightOf(weights, `${module}.weight`);
    const lengths = adaptedNorms({ w, a, b }, { transposed: true, scaling });
    const factor = div(weightOf(weights, names.magnitude), lengths);
    const y = mul(z, factor);
    const trains = wanted.weight(names.magnitude);
    if (!wanted.input && !trains) {
      for (const tensor of [lengths, factor]) tensor.dispose();
      return inactive(y);
    }
    const read = clone(z);
    return passed(y, [lengths, factor, read], (dy, onto) => {
      const gradients = trains ? { [names.magnitude]: tidy(() => div(sum(mul(dy, read), 0), lengths)) } : {};
      const dz = wanted.input ? mul(dy, factor) : undefined;
      dy.dispose();
      return [gradients, dz === undefined ? undefined : landedOn(dz, onto)];
    });
  };

const lookUp =
  (pass: Pass, module: string, idsOf: Ids): Layer<Sequence, Tensor> =>
  (weights, sequence, wanted) => {
    const { lora } = pass;
    const names = embeddingAdapterNames(module);
    const trained = tokenIndicesOf(lora, module);
    const rows =
      trained !== undefined && tokenRowsName(module) in weights
        ? withTokenRows(module, trained, idsOf)
        : plain(module, idsOf);
    const changes = [
      ...(lora !== undefined && names.a in weights ? [change(lora, names, module, idsOf)] : []),
      ...(pass.further ?? []).flatMap(({ name, lora: own }) => {
        const others = embeddingAdapterNames(module, name);
        return others.a in weights ? [change(own, others, module, idsOf)] : [];
      }),
    ];
    if (changes.length === 0) return rows(weights, sequence, wanted);
    const changed = compose(fanOut(rows, ...changes), total);
    const layer =
      lora !== undefined && names.magnitude in weights ? compose(changed, lengthened(lora, names, module)) : changed;
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
