/** Reading a tensor while the engine goes on. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { engine } from '../../tfjs.js';

/** What a backend has that can do so. */
interface ReadsSoon {
  readonly readSoon: (dataId: object) => () => Int32Array;
}

const readsSoon = (backend: object): backend is ReadsSoon => 'readSoon' in backend;

/**
 * The numbers of an int32 tensor, when they are asked for, which must be done once and while the tensor lives. An engine that runs by
 * itself has them on their way from now on: what it is given to do in between runs while the caller waits.
 */
export const readSoon = (x: Tensor): (() => Int32Array) => {
  const { backend } = engine();
  return readsSoon(backend) ? backend.readSoon(x.dataId) : () => x.dataSync<'int32'>();
};
