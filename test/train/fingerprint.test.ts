/** Which options make another run of a run that is taken up again. */
import { expect, test } from '@jest/globals';
import { orThrow } from '../../src/errors.js';
import { decodeSftConfig } from '../../src/train/options/decodeConfig.js';
import type { SftOptions } from '../../src/train/options/config.js';
import { fingerprintOf } from '../../src/train/run/fingerprint.js';

const row = { inputIds: Int32Array.of(1, 2), labels: Int32Array.of(-100, 2), seqLengths: [2] };
const of = (options: SftOptions, rows: Parameters<typeof fingerprintOf>[1] = [row]): string =>
  fingerprintOf(orThrow(decodeSftConfig(options)), rows, { trainable: ['w'] });

test.each<SftOptions>([
  { learningRate: 0.3 },
  { lrDecayType: 'linear' },
  { lrStableSteps: 0 },
  { lrStableSteps: 7 },
  { lrWarmupType: 'cosine' },
  { evalSplit: 0.5 },
  { ropeScaling: { rope_type: 'linear', factor: 2 } },
])('%j makes other updates', (options) => {
  expect(of(options)).not.toBe(of({}));
});

test('each of the options of a schedule counts for itself', () => {
  const all = [
    {},
    { lrStableSteps: 7 },
    { lrWarmupType: 'cosine' },
    { lrStableSteps: 7, lrWarmupType: 'cosine' },
  ] as const;
  expect(new Set(all.map((options) => of(options))).size).toBe(all.length);
});

test.each<SftOptions>([{ loggingSteps: 3 }, { saveSteps: 3 }, { outputDir: 'out' }, { gradientCheckpointing: true }])(
  '%j makes the same updates',
  (options) => {
    expect(of(options)).toBe(of({}));
  },
);

test('rows at hand decide, however they were made; of streamed ones the options do', () => {
  expect(of({}, [{ ...row, labels: row.inputIds }])).not.toBe(of({}));
  expect(of({ maxLength: 9 })).toBe(of({}));
  expect(fingerprintOf(orThrow(decodeSftConfig({ maxLength: 9 })), undefined, { trainable: [] })).not.toBe(
    fingerprintOf(orThrow(decodeSftConfig({ maxLength: 8 })), undefined, { trainable: [] }),
  );
});
