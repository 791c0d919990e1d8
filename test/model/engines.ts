/** The engines that tests of models run on: wasm always, the native one where it was built. */
import { setBackend } from '@tensorflow/tfjs-core';
import { isRight } from 'fp-ts/lib/Either.js';
import { prepareWasm } from '../../src/model/kernels/wasmBackend.js';
import { registerNative } from '../../src/native/register.js';
import { orThrow } from './loadModel.js';

export type Engine = 'wasm' | 'native';

export const engines: ReadonlyArray<Engine> = isRight(registerNative({ threads: 1 })) ? ['wasm', 'native'] : ['wasm'];

export const start = async (engine: Engine): Promise<void> => {
  if (engine === 'wasm') orThrow(await prepareWasm()());
  else await setBackend('native');
};
