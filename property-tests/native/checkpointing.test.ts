/** Gradient checkpointing on the native engine: the same bits for less memory. */
import { afterAll, expect, it } from '@jest/globals';
import { dispose, engine, memory, setBackend } from '@tensorflow/tfjs-core';
import fc from 'fast-check';
import { nativeStatistics, resetPeak, setPrecision } from '../../src/native/register.js';
import { layOut } from '../../src/train/loading/storage.js';
import { configurations, describeNative, startNative } from '../../test/native.js';
import { architectureNames, configs, documents, modelOf, modelSeeds } from '../arbitraries/models.js';
import { pass, withAdapter } from './passes.js';

describeNative('gradient checkpointing', () => {
  afterAll(async () => {
    setPrecision('float32');
    await setBackend('cpu');
  });

  it('changes no bit of loss and gradients, whatever trains, drops out and is rounded', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.record({
          architecture: architectureNames,
          seed: modelSeeds,
          rows: documents(),
          training: fc.boolean(),
          adapter: fc.boolean(),
          precision: fc.constantFrom('float32' as const, 'bfloat16' as const),
          configuration: fc.constantFrom(...configurations),
        }),
        async ({ architecture, seed, rows, training, adapter, precision, configuration }) => {
          await startNative(configuration);
          setPrecision(precision);
          const plain = modelOf(configs[architecture] ?? {}, seed);
          const model = adapter ? withAdapter(plain, seed) : plain;
          layOut(model, precision);
          const before = memory().numTensors;
          const options = { seed, step: 1, training, neftuneNoiseAlpha: 5 };
          expect(pass(model, rows, { ...options, gradientCheckpointing: true })).toEqual(pass(model, rows, options));
          expect(memory().numTensors).toBe(before);
          dispose(Object.values(model.weights));
        },
      ),
      { numRuns: 60 },
    );
  });

  it('keeps one hidden state a layer: eight layers need less than half of the memory', async () => {
    await startNative();
    setPrecision('float32');
    const model = modelOf({ ...configs['llama'], num_hidden_layers: 8, max_position_embeddings: 400 }, 1);
    const rows = { ids: [Array.from({ length: 400 }, (_, t) => t % 13)], supervised: [Array<boolean>(400).fill(true)] };
    const peakOf = (checkpointing: boolean): number => {
      const before = (engine().backend.memory() as unknown as { nativeBytes: number }).nativeBytes;
      resetPeak();
      pass(model, rows, { seed: 1, step: 1, training: true, gradientCheckpointing: checkpointing });
      return (nativeStatistics()?.peakBytes ?? NaN) - before;
    };
    const [kept, again] = [peakOf(false), peakOf(true)];
    expect(again).toBeLessThan(kept / 2);
    dispose(Object.values(model.weights));
  });
});
