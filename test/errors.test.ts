import { describe, expect, test } from '@jest/globals';
import { left, right } from 'fp-ts/lib/Either.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { dataError, fatal, isFatal, orThrow, render, usage, withoutSecrets } from '../src/errors.js';

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
  expect(render(fatal('E_NO_FILE', 'a/b.json does not exist', { file: 'a/b.json', field: 'rows' }))).toBe(
    'field "rows": a/b.json does not exist [E_NO_FILE]',
  );
  expect(render(fatal('E_X', 'a/b.json:3 is cut off', { file: 'a/b.json', line: 3 }))).toBe(
    'a/b.json:3 is cut off [E_X]',
  );
  expect(render(fatal('E_X', 'it is cut off', { file: 'a/b.json' }))).toBe('a/b.json: it is cut off [E_X]');
});

test('a flag is told as one, and once', () => {
  expect(render(usage('E_NO_FILE', 'a.json does not exist', { file: 'a.json', field: '--rows' }))).toBe(
    '--rows: a.json does not exist [E_NO_FILE]',
  );
  expect(render(usage('E_OPTIONS', 'option --rows is required', { field: '--rows' }))).toBe(
    'option --rows is required [E_OPTIONS]',
  );
  expect(render(usage('E_OPTIONS', 'option --rows is wrong', { field: '--rows.0.weight' }))).toBe(
    '--rows.0.weight: option --rows is wrong [E_OPTIONS]',
  );
});

test('what was thrown by other code is told with its stack, and whatever is no error as it is', () => {
  const fault = new TypeError('x is not a function');
  expect(render(fault)).toBe(fault.stack);
  expect(render(fault)).toContain('errors.test');
  expect(render('hf_abcdefghijklmnopqrstuvwxyz')).toBe('hf_…');
  expect(render(undefined)).toBe('undefined');
});

describe('what opens doors', () => {
  const token = 'hf_abcdefghijklmnopqrstuvwxyz';
  test.each([
    [`http://user:${token}@host/a does not exist`, 'http://…@host/a does not exist'],
    ['http:/user:pass@host/config.json', 'http:/…@host/config.json'],
    ['proxy socks5://:p%40ss@127.0.0.1:9', 'proxy socks5://…@127.0.0.1:9'],
    [`Authorization: Bearer ${token}`, 'Authorization: Bearer hf_…'],
  ])('%s is told without it', (text, told) => {
    expect(withoutSecrets(text)).toBe(told);
    expect(render(fatal('E_NO_FILE', text, { actual: text }))).toBe(`${told} [E_NO_FILE]\n  actual:   ${told}`);
  });

  test.each([
    'git+ssh://git@host/a',
    'https://host:80/a@b',
    'a:b@c',
    'hf_hub_download',
    '{"a":"http://x","b":"c:d@e"}',
  ])('%s holds none', (text) => {
    expect(withoutSecrets(text)).toBe(text);
  });

  test('however long the text', () => {
    const text = 'a:/'.repeat(100_000) + ':'.repeat(100_000);
    expect(withoutSecrets(text)).toBe(text);
  });
});

test('orThrow gives the value of a task later and that of an Either at once, and throws what is fatal', async () => {
  expect(await orThrow(TE.right(7))).toBe(7);
  expect(orThrow(right(7))).toBe(7);
  const broken = fatal('E_A', 'broken');
  await expect(orThrow(TE.left(broken))).rejects.toBe(broken);
  expect(() => orThrow(left(broken))).toThrow(broken);
  const thrown = (): unknown => {
    try {
      return orThrow(left(dataError('E_B', 'a bad row', { file: 'a.csv', line: 2, hint: 'mend it' })));
    } catch (error) {
      return error;
    }
  };
  const error = thrown();
  expect(isFatal(error) && render(error)).toBe('a.csv:2: a bad row [E_B]\n  try:      mend it');
  expect(error).toBeInstanceOf(Error);
});
