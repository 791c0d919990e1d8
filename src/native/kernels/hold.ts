import type { TensorInfo } from '@tensorflow/tfjs-core';
import type { Storage } from '../backend.js';
import { kernel } from '../kernel.js';

/** In place: how the data lies, for whoever shares it. */
export const hold = kernel('RxHold', (backend, { x }: { x: TensorInfo }, { storage }: { storage: Storage }) => {
  backend.hold(x, storage);
  return [];
});

export const release = kernel('RxRelease', (backend, { x }: { x: TensorInfo }, _attrs: object) => {
  backend.release(x);
  return [];
});

export const keep = kernel('RxKeep', (backend, { x }: { x: TensorInfo }, _attrs: object) => [backend.keep(x)]);

export const keepWhatMakes = kernel('RxKeepWhatMakes', (backend, { x }: { x: TensorInfo }, _attrs: object) => [
  backend.keepWhatMakes(x),
]);
