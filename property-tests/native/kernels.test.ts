/** Every named op on the native engine, in every form of it, against its reference on the cpu backend. */
import { afterAll, expect, it } from '@jest/globals';
import { env, setBackend } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { setPrecision } from '../../src/native/register.js';
import { describeNative } from '../../test/native.js';
import { disagreement } from './trials/disagreement.js';
import { families } from './trials/families.js';
import { linear } from './trials/products.js';
import { holdable, holdAll } from './trials/trial.js';

env().set('IS_TEST', true);

describeNative('the native engine computes what the reference does, and leaves nothing behind:', () => {
  afterAll(async () => {
    await setBackend('cpu');
  });

  it.each(Object.entries(families))('%s', async (_, family) => {
    await fc.assert(
      fc.asyncProperty(family, async (t) => {
        expect(await disagreement(t)).toBeUndefined();
      }),
      { numRuns: 40 },
    );
  });

  it.each(Object.entries(families))('%s, of inputs held as bfloat16', async (_, family) => {
    await fc.assert(
      fc.asyncProperty(family, async (t) => {
        expect(await disagreement(holdable(t), holdAll)).toBeUndefined();
      }),
      { numRuns: 15 },
    );
  });

  // Operands keep 8 bits; sums stay in float32. Not the head, whose likeliest id may be another by rounding.
  it.each(['products with weights', 'products with adapters', 'attention'])('%s, at bfloat16', async (name) => {
    await fc.assert(
      fc.asyncProperty(families[name] ?? linear, async (t) => {
        const rough = { ...t, tolerance: 0.02, rough: true };
        setPrecision('bfloat16');
        try {
          expect(await disagreement(rough)).toBeUndefined();
          expect(await disagreement(holdable(rough), holdAll)).toBeUndefined();
        } finally {
          setPrecision('float32');
        }
      }),
      { numRuns: 40 },
    );
  });
});
