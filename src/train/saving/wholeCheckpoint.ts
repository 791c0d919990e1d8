/** Checkpoints that hold more than the text model that trains: the rest is never loaded, and copied from file to file when it is saved. */
import { existsSync } from 'node:fs';
import { copyFile } from 'node:fs/promises';
import { join } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, orThrow, usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { processorFiles } from '../../formats/checkpoints/processorFiles.js';
import { fileError } from '../../formats/files/byteSource.js';
import type { StoredTensor, TensorToWrite } from '../../formats/tensors/safetensors.js';
import { readCheckpointTensors } from '../../formats/tensors/shards.js';
import { architectureOf } from '../../model/architectures.js';
import type { CausalLM } from '../../model/model.js';
import type { ModelConfig } from '../../model/config.js';
import { parted, untiedRaw } from '../../model/imageText.js';
import type { WholeCheckpoint } from '../../model/imageText.js';

type Tensors = ReadonlyMap<string, StoredTensor>;

/** What of a directory is the model's. */
export interface TextPart {
  readonly config: ModelConfig;
  /** By the names they have here. */
  readonly tensors: Tensors;
  readonly whole?: WholeCheckpoint;
}

const sameBytes = (a: StoredTensor, b: StoredTensor): TaskEither<FatalError, boolean> => {
  if (a.dtype !== b.dtype || a.shape.join() !== b.shape.join()) return TE.right(false);
  return pipe(
    TE.Do,
    TE.bind('left', () => a.readBytes()),
    TE.bind('right', () => b.readBytes()),
    TE.map(({ left, right }) => Buffer.compare(left, right) === 0),
  );
};

/**
 * The classes of some of these tie head and embedding unless config.json says otherwise, which it does not always do where the file
 * has a head of other values: then transformers does not tie them.
 */
const headApart = (config: ModelConfig, tensors: Tensors): TaskEither<FatalError, ModelConfig> => {
  const head = tensors.get('lm_head.weight');
  const embedding = tensors.get(`${architectureOf(config).embedding}.weight`);
  if (!config.tieWordEmbeddings || head === undefined || embedding === undefined) return TE.right(config);
  return pipe(
    sameBytes(head, embedding),
    TE.map((same) => (same ? config : { ...config, tieWordEmbeddings: false, raw: untiedRaw(config.raw) })),
  );
};

/** The text model's part of a directory's tensors; all of them where there is nothing else. */
export const textPartOf = (config: ModelConfig, dir: string, tensors: Tensors): TaskEither<FatalError, TextPart> => {
  if (config.within === undefined) return TE.right({ config, tensors });
  const { layout, own, others } = parted(tensors, architectureOf(config).leavesOut);
  return pipe(
    headApart(config, own),
    TE.map((apart) => ({ config: apart, tensors: own, whole: { dir, layout, others } })),
  );
};

/** Why a model's whole checkpoint cannot be written, if it is a part of one. */
export const wholeFault = (
  { config: { within }, whole }: Pick<CausalLM, 'config' | 'whole'>,
  quantized: boolean,
): FatalError | undefined => {
  if (within === undefined) return undefined;
  if (whole === undefined)
    return fatal(
      'E_WEIGHTS_MISSING',
      `what a checkpoint of type "${within.modelType}" holds beside its text model is not known`,
      {
        hint: 'a model that was loaded from a directory is saved with the rest of it',
      },
    );
  return quantized
    ? usage('E_QUANTIZED', 'a checkpoint with parts beside its text model is not written in 8 or 4 bits', {
        hint: 'save the adapter, or merge it into a model that was loaded unquantised',
      })
    : undefined;
};

const gone = (dir: string, name: string): FatalError =>
  fatal('E_WEIGHTS_MISSING', `${dir} no longer holds what the checkpoint has beside its text model`, {
    file: dir,
    expected: name,
    actual: 'nothing of that name',
    hint: 'a model is saved with the parts that it was loaded from: leave them where they are',
  });

/** The rest of the checkpoint's tensors, to be copied when their turn comes. The files may have been written anew since they were read. */
export const othersToWrite = ({ dir, others }: WholeCheckpoint): TaskEither<FatalError, ReadonlyArray<TensorToWrite>> =>
  pipe(
    readCheckpointTensors(dir),
    TE.flatMap(({ tensors }) =>
      pipe(
        others,
        A.traverse(TE.ApplicativeSeq)((name): TaskEither<FatalError, TensorToWrite> => {
          const stored = tensors.get(name);
          if (stored === undefined) return TE.left(gone(dir, name));
          const { dtype, shape } = stored;
          return TE.right({ name, dtype, shape, data: () => orThrow(stored.readBytes()) });
        }),
      ),
    ),
  );

/** Copies the files by which images are prepared. */
export const copyProcessor = ({ dir }: WholeCheckpoint, to: string): TaskEither<FatalError, void> =>
  TE.tryCatch(
    async () => {
      for (const name of processorFiles)
        if (existsSync(join(dir, name))) await copyFile(join(dir, name), join(to, name));
    },
    (error) => fileError(dir, error),
  );
