/** AdamW with moments in 8 bits against the published algorithm (reference/adamw_8bit.py), on every engine. */
import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, test } from '@jest/globals';
import { memory, tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { adamW8bit, dequantizeMoment, quantizeMoment } from '../../../src/model/kernels/adamW8bit.js';
import { dynamicMap, unsignedDynamicMap } from '../../../src/model/quantize/dynamicMap.js';
import { enginesUnderTest, startEngine } from '../../engine.js';
import { configurations, describeNative, startNative } from '../../native.js';

interface Stored {
  readonly p: string;
  readonly g: string;
  /** Codes and scales. */
  readonly m: readonly [string, string];
  readonly v: readonly [string, string];
}

interface Golden {
  readonly signed: string;
  readonly unsigned: string;
  readonly size: number;
  readonly states: ReadonlyArray<{ readonly step: number; readonly before: Stored; readonly after: Omit<Stored, 'g'> }>;
}

const golden = JSON.parse(readFileSync(new URL('../../golden/adamw8bit.json', import.meta.url), 'utf8')) as Golden;

const bytes = (text: string): Uint8Array => Uint8Array.from(Buffer.from(text, 'base64'));
const floats = (text: string): Float32Array => new Float32Array(bytes(text).buffer);
const codes = (text: string): Tensor => {
  const whole = new Uint8Array(4 * Math.ceil(golden.size / 4));
  whole.set(bytes(text));
  return tensor(new Int32Array(whole.buffer));
};
const codesOf = (t: Tensor | undefined): Uint8Array =>
  new Uint8Array(t?.dataSync<'int32'>().slice().buffer ?? new ArrayBuffer(0)).slice(0, golden.size);

const attrs = { learningRate: 1e-2, beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: Float32Array.of(0.1) };

const near = (got: Float32Array, wanted: Float32Array): void => {
  expect(got).toHaveLength(wanted.length);
  const worst = Math.max(...got.map((x, i) => Math.abs(x - (wanted[i] ?? NaN)) / (1e-7 + Math.abs(wanted[i] ?? NaN))));
  expect(worst).toBeLessThan(1e-4);
};

/** Codes may differ by one where a number lies between two of them, as near to the one as to the other. */
const nearlySame = (got: Uint8Array, wanted: Uint8Array): void => {
  const apart = Array.from(got, (code, i) => Math.abs(code - (wanted[i] ?? NaN)));
  expect(Math.max(...apart)).toBeLessThanOrEqual(1);
  expect(apart.filter((d) => d > 0).length).toBeLessThanOrEqual(golden.size / 200);
};

const whileUpdating = (before: Stored, step: number, gradScale: number) => {
  const g = tensor(floats(before.g).map((x) => x / gradScale));
  const state = {
    parameters: [tensor(floats(before.p))],
    mCodes: [codes(before.m[0])],
    mAbsmax: [tensor(floats(before.m[1]))],
    vCodes: [codes(before.v[0])],
    vAbsmax: [tensor(floats(before.v[1]))],
  };
  const moved = adamW8bit(state, [g], { ...attrs, step, gradScale });
  g.dispose();
  return moved;
};

const agrees = (): void => {
  for (const { step, before, after } of golden.states) {
    const { numTensors } = memory();
    const { parameters, mCodes, mAbsmax, vCodes, vAbsmax } = whileUpdating(before, step, 0.5);
    near(parameters[0]?.dataSync<'float32'>() ?? new Float32Array(0), floats(after.p));
    near(mAbsmax[0]?.dataSync<'float32'>() ?? new Float32Array(0), floats(after.m[1]));
    near(vAbsmax[0]?.dataSync<'float32'>() ?? new Float32Array(0), floats(after.v[1]));
    nearlySame(codesOf(mCodes[0]), bytes(after.m[0]));
    nearlySame(codesOf(vCodes[0]), bytes(after.v[0]));
    for (const part of [parameters, mCodes, mAbsmax, vCodes, vAbsmax]) part[0]?.dispose();
    expect(memory().numTensors).toBe(numTensors);
  }
};

test('the maps are bitsandbytes’', () => {
  expect(Array.from(dynamicMap)).toEqual(Array.from(floats(golden.signed)));
  expect(Array.from(unsignedDynamicMap)).toEqual(Array.from(floats(golden.unsigned)));
});

test('moments in typed arrays have the golden codes', () => {
  for (const { after } of golden.states) {
    for (const [[stored, scale], map] of [
      [after.m, dynamicMap],
      [after.v, unsignedDynamicMap],
    ] as const) {
      const moment = { codes: bytes(stored), absmax: floats(scale) };
      const again = quantizeMoment(dequantizeMoment(moment, map), map);
      expect(again.absmax.every((x, i) => Math.abs(x - (moment.absmax[i] ?? NaN)) <= 0.008 * x)).toBe(true);
    }
  }
});

describe.each(enginesUnderTest('cpu', 'wasm', 'native'))('on %s', (engine) => {
  beforeAll(() => startEngine(engine));

  test('one update is the published one', agrees);
});

describeNative('the native engine', () => {
  afterAll(() => startNative());

  for (const configuration of configurations)
    test(`gives the published update with ${JSON.stringify(configuration)}`, async () => {
      await startNative(configuration);
      agrees();
    });

  test('refuses what does not fit, and writes nothing', async () => {
    await startEngine('native');
    const [state] = golden.states;
    if (state === undefined) throw new Error('no golden state');
    const p = tensor([1, 2, 3]);
    const wrong = { parameters: [p], mCodes: [p], vCodes: [p], mAbsmax: [p], vAbsmax: [p] };
    expect(() => adamW8bit(wrong, [p], { ...attrs, step: 1, gradScale: 1 })).toThrow('codes of a moment');
    const one = tensor([1]);
    const mixed = { parameters: [p], mCodes: [one], vCodes: [one], mAbsmax: [one], vAbsmax: [one] };
    expect(() => adamW8bit(mixed, [p], { ...attrs, step: 1, gradScale: 1 })).toThrow('expected int32');
    expect(Array.from(p.dataSync())).toEqual([1, 2, 3]);
  });
});
