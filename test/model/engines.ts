/** The engines that tests of models run on: wasm always, the native one where it was built. */
import type { EngineName } from '../../src/train/engine.js';
import { enginesUnderTest, startEngine } from '../engine.js';

export const engines: ReadonlyArray<EngineName> = enginesUnderTest('wasm', 'native');

export const start = startEngine;
