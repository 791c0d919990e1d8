/** Angles are those of each token's position, whoever asked for which positions before. */
import { beforeAll, expect, it } from '@jest/globals';
import { dispose, setBackend } from '@tensorflow/tfjs-core';
import '@tensorflow/tfjs-backend-cpu';
import fc from 'fast-check';
import { inverseFrequencies } from '../../src/model/attention/inverseFrequencies.js';
import { rotaryAngles } from '../../src/model/attention/rope.js';
import type { RopeConfig, RopeScaling } from '../../src/model/attention/ropeConfig.js';
import { tableOf } from '../../src/model/attention/rotaryTable.js';

beforeAll(async () => {
  await setBackend('cpu');
});

const scalings: fc.Arbitrary<RopeScaling> = fc.constantFrom<RopeScaling>(
  { kind: 'default' },
  { kind: 'dynamic', factor: 4 },
  { kind: 'longrope', shortFactors: [1, 2, 3], longFactors: [2, 4, 8], originalMaxPositions: 9, attentionFactor: 1.5 },
  { kind: 'llama3', factor: 8, lowFreqFactor: 1, highFreqFactor: 4, originalMaxPositions: 6 },
);

/** Positions of a document: from 0 on, from elsewhere, far out, or in any order. */
const documents = fc.oneof(
  fc
    .record({ first: fc.constantFrom(0, 0, 3, 500), length: fc.integer({ min: 1, max: 30 }) })
    .map(({ first, length }) => Array.from({ length }, (_, i) => first + i)),
  fc.array(fc.nat(40), { minLength: 1, maxLength: 6 }),
);

it('a table is made once for each kind of length, of which a few are kept', () => {
  const config: RopeConfig = { theta: 100, rotaryDim: 6, maxPositions: 8, scaling: { kind: 'dynamic', factor: 4 } };
  const table = (length: number): object => tableOf(config, inverseFrequencies(config, length), length);
  const [short, long] = [table(8), table(20)];
  expect([table(5), table(20), table(8), table(20)]).toEqual([short, long, short, long]);
  expect(table(5)).toBe(short);
  expect(table(20)).toBe(long);
  for (const length of [30, 31, 32]) expect(table(length)).toBe(table(length));
  expect(table(20)).toBe(long);
  expect(table(8)).not.toBe(short);
});

it('angles are those of the position, in any order of asking', () => {
  fc.assert(
    fc.property(
      scalings,
      fc.array(fc.array(documents, { minLength: 1, maxLength: 3 }), { minLength: 1, maxLength: 4 }),
      (scaling, sequences) => {
        const config: RopeConfig = { theta: 100, rotaryDim: 6, maxPositions: 12, scaling };
        for (const parts of sequences) {
          const expected = parts.flatMap((positions) => {
            const { frequencies, magnitude } = inverseFrequencies(config, Math.max(...positions) + 1);
            return positions.flatMap((position) =>
              Array.from(frequencies, (frequency) => {
                const angle = Math.fround(position * Math.fround(frequency));
                return [Math.cos(angle) * magnitude, Math.sin(angle) * magnitude].map(Math.fround);
              }),
            );
          });
          const positionIds = Int32Array.from(parts.flat());
          const ends = parts.map((_, d) => parts.slice(0, d + 1).flat().length);
          const angles = rotaryAngles(config, {
            positionIds,
            inputIds: positionIds,
            cuSeqlens: Int32Array.of(0, ...ends),
          });
          const found = [angles.cos, angles.sin].map((tensor) => Array.from(tensor.dataSync()));
          dispose([angles.cos, angles.sin]);
          expect(found).toEqual([0, 1].map((part) => expected.map((pair) => pair[part])));
        }
      },
    ),
  );
});
