/** A token that lets all go and writes nothing: the tokens after it are as if they were alone, in scans that sum decays up over a chunk. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { slice, tensor, tidy } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { gatedDeltaRule } from '../../../src/model/kernels/gatedDeltaRule.js';
import { stateSpaceScan } from '../../../src/model/kernels/stateSpaceScan.js';
import { engines, start } from '../engines.js';

const tokens = 50;
const forgetting = 20;

/** Rows of numbers from -1 to 1; zeros where all is let go. */
const rows = (columns: number): Tensor =>
  tensor(
    Float32Array.from({ length: tokens * columns }, (_, i) =>
      Math.floor(i / columns) === forgetting ? 0 : ((i * 37) % 101) / 50 - 1,
    ),
    [tokens, columns],
  );

/** A number a row; `forgets` where all is let go. */
const column = (value: (i: number) => number, forgets = 0): Tensor =>
  tensor(
    Float32Array.from({ length: tokens }, (_, i) => (i === forgetting ? forgets : value(i))),
    [tokens, 1],
  );

type Take = (x: Tensor) => Tensor;

const after: Take = (x) => slice(x, [forgetting + 1, 0], [tokens - forgetting - 1, -1]);

const gated = (take: Take, forgets: number): Tensor => {
  const decay = take(column((i) => -((i * 3) % 10) / 10, forgets));
  const inputs = { qkv: take(rows(12)), decay, rate: take(column((i) => ((i * 7) % 10) / 10)) };
  const cuSeqlens = Int32Array.of(0, decay.size);
  return gatedDeltaRule(inputs, { cuSeqlens, keyHeads: 1, valueHeads: 1, keyDim: 4, valueDim: 4 }).out;
};

const stateSpace = (take: Take, forgets: number): Tensor => {
  const dt = take(column((i) => ((i * 3) % 10) / 5 - 1, forgets));
  const inputs = { xbc: take(rows(12)), dt, aLog: tensor([0]), skip: tensor([1]), dtBias: tensor([0]) };
  const cuSeqlens = Int32Array.of(0, dt.size);
  const attrs = {
    cuSeqlens,
    heads: 1,
    headDim: 4,
    groups: 1,
    stateDim: 4,
    least: 0,
    most: Infinity,
    keepsState: false,
  };
  return stateSpaceScan(inputs, attrs).y;
};

const scans = [
  ['the gated delta rule', gated, -1e9],
  ['the gated delta rule', gated, -Infinity],
  ['the state-space scan', stateSpace, 1e6],
] as const;

describe.each(engines)('on %s', (engine) => {
  beforeAll(() => start(engine));

  test.each(scans)('%s', (_, scan, forgets) => {
    const whole = tidy(() => after(scan((x) => x, forgets))).dataSync<'float32'>();
    const alone = tidy(() => scan(after, forgets)).dataSync<'float32'>();
    expect(whole.length).toBe(alone.length);
    const apart = whole.map((x, i) => Math.abs(x - (alone[i] ?? NaN)));
    expect(apart.every((distance) => distance < 1e-5)).toBe(true);
  });
});
