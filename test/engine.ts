/**
 * The engine that tests of models, ops and steps run on: RXTUNE_TEST_ENGINE, so that the same suite can be run on each
 * (reference/tfjs_node.mjs does so for tensorflow); not set, the one that the test names. RXTUNE_TEST_DEVICE=cuda with native runs
 * it on a card, or on the emulated one that RXTUNE_LIBCUDA names.
 */
import * as E from 'fp-ts/lib/Either.js';
import { registerNative } from '../src/native/register.js';
import { chooseEngine } from '../src/train/engine.js';
import type { EngineName } from '../src/train/engine.js';

const named = process.env['RXTUNE_TEST_ENGINE'];

const isEngine = (name: string): name is EngineName => ['native', 'tensorflow', 'wasm', 'cpu'].includes(name);

const asked = (): EngineName | undefined => {
  if (named === undefined || named === '') return undefined;
  if (!isEngine(named)) throw new Error(`RXTUNE_TEST_ENGINE is ${named}, expected native, tensorflow, wasm or cpu`);
  return named;
};

const device = process.env['RXTUNE_TEST_DEVICE'] === 'cuda' ? 'cuda' : undefined;

/** Whether the native engine is built here; where it is not, the tests of all others run. */
const isThere = (name: EngineName): boolean => name !== 'native' || E.isRight(registerNative({ threads: 1 }));

/** RXTUNE_TEST_ENGINE, or else the usual ones. */
export const enginesUnderTest = (...usual: ReadonlyArray<EngineName>): ReadonlyArray<EngineName> => {
  const one = asked();
  return one === undefined ? usual.filter(isThere) : [one];
};

/** Starts the engine and makes it current; throws what keeps it from starting. */
export const startEngine = async (engine: EngineName | undefined): Promise<void> => {
  const started = await chooseEngine({ engine, device })();
  if (E.isLeft(started)) throw new Error(JSON.stringify(started.left, undefined, 1));
};

/** Starts RXTUNE_TEST_ENGINE, or else the usual one: without a name, the fastest there is. */
export const startUnderTest = (usual?: EngineName): Promise<void> => startEngine(asked() ?? usual);
