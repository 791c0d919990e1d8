import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import { readTorchFile } from '../pickle/torchFile.js';
import { readSafetensors } from './safetensors.js';
import type { StoredTensors } from './storedTensor.js';

/** The tensors of a file of either format, by its name: what torch.save wrote when it ends as such files do, else safetensors. */
export const readTensorFile = (file: string): TaskEither<FatalError, StoredTensors> =>
  /\.(bin|pt|pth|ckpt)$/.test(file) ? readTorchFile(file) : readSafetensors(file);
