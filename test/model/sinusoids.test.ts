import { expect, it } from '@jest/globals';
import { sinusoids } from '../../src/model/layers/sinusoids.js';
import { documents } from './batches.js';
import { start } from './engines.js';

it('tell a position by sines and then cosines, but for the one that is left blank and the last of odd columns', async () => {
  await start('wasm');
  const { value, active } = sinusoids({ width: 5, offset: 2, blank: 3 })({}, documents([7, 8, 9]), {
    weight: () => true,
    input: true,
  });
  const told = (position: number): ReadonlyArray<number> => {
    const angles = [position, position / 10_000];
    return [...angles.map(Math.sin), ...angles.map(Math.cos), 0];
  };
  const expected = [...told(2), 0, 0, 0, 0, 0, ...told(4)];
  Array.from(value.dataSync()).forEach((x, i) => expect(x).toBeCloseTo(expected[i] ?? NaN, 6));
  expect(value.shape).toEqual([3, 5]);
  expect(active).toBe(false);
  value.dispose();
});
