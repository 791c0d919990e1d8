import type { Tensor } from '@tensorflow/tfjs-core';
import { embedding as embed, embeddingGrad } from './kernels/embedding.js';
import { scale } from './kernels/scale.js';
import type { Layer } from './layer.js';
import { inactive, landedOn, passed } from './layer.js';
import type { Sequence } from './sequence.js';
import { weightOf } from './weights.js';

/** Kernels do not look: an id outside the table would read what lies beside it. */
const checked = (ids: Int32Array, rows: number, name: string): void => {
  const wrong = ids.find((id) => id < 0 || id >= rows);
  if (wrong !== undefined) throw new RangeError(`"${name}" has ${rows} rows, and row ${wrong} was asked for`);
};

const lookUp =
  (module: string, idsOf: (sequence: Sequence) => Int32Array): Layer<Sequence, Tensor> =>
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

/** The rows of `<module>.weight` at the token ids: [N, C]. */
export const tokenEmbedding = (module: string): Layer<Sequence, Tensor> => lookUp(module, ({ inputIds }) => inputIds);

/** The rows of `<module>.weight` at position + offset (OPT's table begins with two rows of its own). */
export const positionEmbedding = (module: string, offset = 0): Layer<Sequence, Tensor> =>
  lookUp(module, ({ positionIds }) => (offset === 0 ? positionIds : positionIds.map((position) => position + offset)));

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
