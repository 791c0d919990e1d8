import { expect, test } from '@jest/globals';
import { counted } from '../../src/formats/counted.js';

test.each([
  [0, '0 rows'],
  [1, '1 row'],
  [2, '2 rows'],
  [1234, '1,234 rows'],
])('%d in words', (count, words) => {
  expect(counted(count, 'row')).toBe(words);
});

test('what does not end in s is given', () => {
  expect([1, 2].map((count) => counted(count, 'tensor belongs', 'tensors belong'))).toEqual([
    '1 tensor belongs',
    '2 tensors belong',
  ]);
});
