import type { TensorInfo } from '@tensorflow/tfjs-core';
import { kernel } from '../kernel.js';
import type { HeldAs } from '../storage.js';

/** In place: how the data lies, for whoever shares it. */
export const hold = kernel('RxHold', (backend, { x }: { x: TensorInfo }, { storage }: { storage: HeldAs }) => {
  backend.storage.hold(x, storage);
  return [];
});

export const release = kernel('RxRelease', (backend, { x }: { x: TensorInfo }, _attrs: object) => {
  backend.storage.release(x);
  return [];
});

export const keep = kernel('RxKeep', (backend, { x }: { x: TensorInfo }, _attrs: object) => [backend.keeping.keep(x)]);

export const keepWhatMakes = kernel('RxKeepWhatMakes', (backend, { x }: { x: TensorInfo }, _attrs: object) => [
  backend.keeping.keepWhatMakes(x),
]);
