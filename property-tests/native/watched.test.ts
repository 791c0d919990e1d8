/** Kernels are called as tfjs calls them, whether it watches or not. */
import { afterAll, expect, it } from '@jest/globals';
import { dispose, engine, env, memory, setBackend } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { setPrecision } from '../../src/native/register.js';
import { layOut } from '../../src/train/loading/storage.js';
import { describeNative, startNative } from '../../test/native.js';
import { architectureNames, configs, documents, modelOf, modelSeeds } from '../arbitraries/models.js';
import { pass, withAdapter } from './passes.js';

/** What tfjs and the engine count. */
const counts = (): ReadonlyArray<number> => {
  const { numTensors, numDataBuffers, numBytes } = memory();
  return [numTensors, numDataBuffers, numBytes, engine().backend.numDataIds()];
};

describeNative('a pass that tfjs watches', () => {
  afterAll(async () => {
    env().set('IS_TEST', false);
    setPrecision('float32');
    await setBackend('cpu');
  });

  it('has the same bits as one that it does not, and neither leaves anything', async () => {
    await startNative();
    fc.assert(
      fc.property(
        architectureNames,
        modelSeeds,
        documents(),
        fc.boolean(),
        fc.constantFrom('float32' as const, 'bfloat16' as const),
        (architecture, seed, rows, adapter, precision) => {
          setPrecision(precision);
          const plain = modelOf(configs[architecture] ?? {}, seed);
          const model = adapter ? withAdapter(plain, seed) : plain;
          layOut(model, precision);
          const before = counts();
          const [watched, unwatched] = [true, false].map((watches) => {
            env().set('IS_TEST', watches);
            const numbers = pass(model, rows, { seed, step: 1, training: true, neftuneNoiseAlpha: 5 });
            expect(counts()).toEqual(before);
            return numbers;
          });
          expect(unwatched).toEqual(watched);
          dispose(Object.values(model.weights));
        },
      ),
      { numRuns: 60 },
    );
  });
});
