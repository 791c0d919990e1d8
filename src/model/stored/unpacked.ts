/** Tensors of a file that stand for several of the model, seen as those. */
import * as E from 'fp-ts/lib/Either.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';
import type { JoinedTensor } from '../architecture.js';

/** Each part of the tensor; the shape of a part is the tensor's, less the first dimensions. */
const parts = (whole: StoredTensor, { shape, parts: names }: JoinedTensor): ReadonlyArray<StoredTensor> => {
  const columns = shape[shape.length - 1] ?? 1;
  const rows = shape.slice(0, -1).reduce((product, dimension) => product * dimension, 1) / names.length;
  // A row stays one: it is no matrix.
  const own = shape.length === 1 ? shape : [rows, columns];
  return names.map((name, i) => whole.part({ name, shape: own, from: i * rows * columns }));
};

/** A file's tensors by name, those that stand for several replaced; values are read when they are wanted. `E_WEIGHTS_SHAPE`. */
export const unpacked = (
  { packed, basePrefix }: { readonly packed: ReadonlyArray<JoinedTensor>; readonly basePrefix: string },
  tensors: ReadonlyMap<string, StoredTensor>,
): E.Either<FatalError, ReadonlyMap<string, StoredTensor>> => {
  if (packed.length === 0) return E.right(tensors);
  const byName = new Map(
    packed.flatMap((one) => [one.name, one.name.replace(basePrefix, '')].map((name) => [name, one])),
  );
  const all = new Map<string, StoredTensor>();
  for (const [name, stored] of tensors) {
    const found = byName.get(name);
    if (found !== undefined && found.shape.join() !== stored.shape.join()) {
      return E.left(
        fatal('E_WEIGHTS_SHAPE', `tensor "${name}" does not fit config.json`, {
          expected: `[${found.shape.join(', ')}]`,
          actual: `[${stored.shape.join(', ')}]`,
        }),
      );
    }
    const own = found === undefined ? [stored] : parts(stored, found);
    for (const one of own) all.set(found === undefined ? name : one.name, one);
  }
  return E.right(all);
};
