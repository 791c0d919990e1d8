import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import type { Weights } from '../../model/layers/layer.js';

/** Tensors as a file takes them: each is read back from the device when its turn comes. */
export const toWrite = (tensors: Weights): ReadonlyArray<TensorToWrite> =>
  Object.entries(tensors).map(([name, tensor]) => ({
    name,
    dtype: 'F32',
    shape: tensor.shape,
    data: () => tensor.data<'float32'>(),
  }));
