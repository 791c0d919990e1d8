/** Models and checkpoints on disk. */
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/atomicFile.js';
import { writeJson } from '../formats/json.js';
import { writeCheckpointTensors } from '../formats/shards.js';
import type { TensorToWrite } from '../formats/safetensors.js';
import type { Tokenizer } from '../formats/tokenizer.js';
import type { CausalLM } from '../model/causalLm.js';
import type { Weights } from '../model/layer.js';
import type { Run } from './run.js';

/** Tensors as a file takes them: each is read back from the device when its turn comes. */
export const toWrite = (tensors: Weights): ReadonlyArray<TensorToWrite> =>
  Object.entries(tensors).map(([name, tensor]) => ({
    name,
    dtype: 'F32',
    shape: tensor.shape,
    data: () => floats(tensor),
  }));

const floats = async (tensor: Tensor): Promise<Float32Array> => tensor.data<'float32'>();

const writeTokenizer = (dir: string, { files }: Tokenizer): TaskEither<FatalError, void> =>
  pipe(
    Object.entries(files),
    A.traverse(TE.ApplicativeSeq)(([name, text]) => writeTextAtomically(join(dir, name), text)),
    TE.map(() => undefined),
  );

/** Writes what other software opens as a model. */
export const saveModel = (dir: string, model: CausalLM, tokenizer?: Tokenizer): TaskEither<FatalError, void> =>
  pipe(
    writeJson(join(dir, 'config.json'), model.config.raw),
    TE.flatMap(() => writeCheckpointTensors(dir, toWrite(model.weights))),
    TE.flatMap(() => (tokenizer === undefined ? TE.right(undefined) : writeTokenizer(dir, tokenizer))),
  );

export const saveCheckpoint = (_run: Run): TaskEither<FatalError, string> => TE.right('');
