/** What every named op leaves behind when a step within it fails: nothing. */
import { afterAll, expect, it } from '@jest/globals';
import { env, setBackend } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { describeNative } from '../../test/native.js';
import { families } from './trials/families.js';
import { leftByNative, leftByReference } from './trials/left.js';
import { holdable, holdAll } from './trials/trial.js';

env().set('IS_TEST', true);

describeNative('the reference and the native engine leave nothing behind:', () => {
  afterAll(async () => {
    await setBackend('cpu');
  });

  it.each(Object.entries(families))('%s, when a step of them fails', async (_, family) => {
    await fc.assert(
      fc.asyncProperty(family, async (t) => {
        expect(await leftByReference(t)).toBeUndefined();
        expect(await leftByNative(t)).toBeUndefined();
        expect(await leftByNative(holdable(t), holdAll)).toBeUndefined();
      }),
      { numRuns: 5 },
    );
  });
});
