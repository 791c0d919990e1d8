import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import type { StoredTensor } from '../../formats/tensors/safetensors.js';
import type { QuantizedMatrix } from './matrix.js';

/** A quantised weight of a file, to be read when wanted. */
export interface StoredQuantized {
  readonly name: string;
  /** [outputs, inputs] */
  readonly shape: readonly [number, number];
  readonly read: () => TaskEither<FatalError, QuantizedMatrix>;
}

/** A checkpoint's tensors, those of quantised weights put together. */
export interface StoredParts {
  readonly quantized: ReadonlyMap<string, StoredQuantized>;
  /** Tensors that belong to no quantised weight. */
  readonly plain: ReadonlyMap<string, StoredTensor>;
}
