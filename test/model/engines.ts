/** The engines that tests of models run on: wasm always, the native one where it was built. */
import { isRight } from 'fp-ts/lib/Either.js';
import { registerNative } from '../../src/native/register.js';
import type { EngineName } from '../../src/train/engine.js';
import { enginesUnderTest, startEngine } from '../engine.js';

export const engines: ReadonlyArray<EngineName> = isRight(registerNative({ threads: 1 }))
  ? enginesUnderTest('wasm', 'native')
  : enginesUnderTest('wasm');

export const start = startEngine;
