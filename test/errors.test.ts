import { expect, test } from '@jest/globals';
import { dataError, fatal, render } from '../src/errors.js';

test('a message tells the place, what was expected, what was found and what to do', () => {
  const error = dataError('E_FIELD_TYPE', '"text" is a number', {
    file: 'rows.jsonl',
    line: 3,
    field: 'text',
    expected: 'a string',
    actual: '5',
    hint: 'quote it',
  });
  expect(render(error).split('\n')).toEqual([
    'rows.jsonl:3, field "text": "text" is a number [E_FIELD_TYPE]',
    '  expected: a string',
    '  actual:   5',
    '  try:      quote it',
  ]);
});

test('a file that the message names already is not named twice', () => {
  expect(render(fatal('E_NO_FILE', 'a/b.json does not exist', { file: 'a/b.json' }))).toBe(
    'a/b.json does not exist [E_NO_FILE]',
  );
  expect(render(fatal('E_X', 'it is cut off', { file: 'a/b.json' }))).toBe('a/b.json: it is cut off [E_X]');
});
