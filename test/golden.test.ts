/** Every file of the shared goldens is read by some test. */
import { expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { sharedPath } from './shared.js';

const folder = sharedPath('data', 'golden');
const whenThere = folder === undefined ? test.skip : test;

const testsBelow = (directory: string): ReadonlyArray<string> =>
  readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.test.ts') && name !== 'golden.test.ts')
    .map((name) => readFileSync(join(directory, name), 'utf8'));

whenThere('every file of the shared goldens is read by a test', () => {
  const tests = testsBelow(resolve(import.meta.dirname));
  const files = readdirSync(folder ?? '.', { recursive: true, encoding: 'utf8' }).filter((name) =>
    /\.jsonl?/.test(name),
  );
  expect(files.length).toBeGreaterThanOrEqual(16);
  const unread = files.filter((file) => {
    const name = file.replace(/^.*\//, '').replace(/\.gz$/, '');
    return !tests.some((text) => text.includes(`'${name}'`));
  });
  expect(unread).toEqual([]);
});
