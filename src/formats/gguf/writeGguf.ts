/** A GGUF file, written in a stream. */
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeFileAtomically, writeFully } from '../files/atomicFile.js';
import { encodeGgufData, ggufByteLength, q8Block } from './blocks.js';
import { encodeGgufHeader, padded } from './values.js';
import type { GgufMetadata, GgufType } from './values.js';

export interface GgufTensorToWrite {
  readonly name: string;
  readonly shape: ReadonlyArray<number>;
  readonly type: GgufType;
  /** Row-major, whole rows after whole rows; each called when its turn comes, so that only one needs to be in memory. */
  readonly parts: ReadonlyArray<() => Promise<Float32Array>>;
}

/** Numbers of a tensor of a shape. */
export const sizeOf = (shape: ReadonlyArray<number>): number => shape.reduce((product, n) => product * n, 1);

/** The type that a tensor can have: rows that are no multiple of 32 long cannot be q8_0 and become f16, as llama.cpp does it. */
export const fittingType = (type: GgufType, shape: ReadonlyArray<number>): GgufType =>
  type === 'q8_0' && (shape.at(-1) ?? 0) % q8Block !== 0 ? 'f16' : type;

/** Writes the file, whole or not at all. */
export const writeGguf = (
  file: string,
  metadata: GgufMetadata,
  tensors: ReadonlyArray<GgufTensorToWrite>,
): TaskEither<FatalError, void> => {
  let end = 0;
  const infos = tensors.map(({ name, shape, type }) => {
    const offset = end;
    end += padded(ggufByteLength(type, sizeOf(shape)));
    return { name, shape, type, offset };
  });
  const wrong = infos.find(({ type, shape }) => fittingType(type, shape) !== type);
  if (wrong !== undefined)
    return TE.left(
      fatal('E_TENSOR_SHAPE', `${file}: rows of "${wrong.name}" cannot be ${wrong.type}`, {
        file,
        field: wrong.name,
        expected: `rows of a multiple of ${q8Block} numbers`,
        actual: JSON.stringify(wrong.shape),
      }),
    );
  return writeFileAtomically(file, async (handle) => {
    await writeFully(handle, encodeGgufHeader(metadata, infos));
    for (const { name, shape, type, parts } of tensors) {
      let size = 0;
      let written = 0;
      for (const part of parts) {
        const values = await part();
        const bytes = encodeGgufData(type, values);
        await writeFully(handle, bytes);
        size += values.length;
        written += bytes.length;
      }
      if (size !== sizeOf(shape))
        throw fatal('E_TENSOR_SIZE', `${file}: tensor "${name}" has data of another size than its shape`, {
          file,
          field: name,
          expected: `${sizeOf(shape)} numbers`,
          actual: String(size),
        });
      await writeFully(handle, new Uint8Array(padded(written) - written));
    }
  });
};
