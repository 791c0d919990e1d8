import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import { bytesOfDtype } from './safetensorsHeader.js';
import { storedTensor } from './storedTensor.js';
import type { Allocate, StoredTensor } from './storedTensor.js';

/** A tensor of a file whose bytes are made of others when they are wanted, in memory that `make` is to ask for. */
export const madeTensor = (
  what: Pick<StoredTensor, 'name' | 'dtype' | 'shape' | 'file'>,
  make: (allocate: Allocate) => TaskEither<FatalError, Uint8Array>,
): StoredTensor => {
  const byteLength = what.shape.reduce((product, dimension) => product * dimension, bytesOfDtype[what.dtype]);
  return storedTensor({ ...what, byteLength }, async (_handle, { start, length }, allocate) => {
    const made = await make(allocate)();
    if (E.isLeft(made)) throw made.left;
    return length === byteLength ? made.right : made.right.subarray(start, start + length);
  });
};
