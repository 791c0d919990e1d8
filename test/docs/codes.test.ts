/** Every error and warning that the library can give is given in some test. */
import { readFileSync, readdirSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { expect, test } from '@jest/globals';

const root = resolve(import.meta.dirname, '..', '..');

const sources = (...folders: ReadonlyArray<string>): ReadonlyArray<string> =>
  folders.flatMap((folder) =>
    readdirSync(join(root, folder), { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && entry.name.endsWith('.ts'))
      .map((entry) => join(entry.parentPath, entry.name))
      // This file speaks of codes and tests none.
      .filter((path) => path !== import.meta.filename)
      .map((path) => readFileSync(path, 'utf8')),
  );

const code = /(?<=['"`])[EW]_[A-Z0-9_]+(?=['"`])/g;

test('no code of an error or a warning is without a test', () => {
  const given = new Set(sources('src').flatMap((text) => text.match(code) ?? []));
  expect(given.size).toBeGreaterThan(150);
  const tested = new Set(sources('test', 'property-tests').flatMap((text) => text.match(/\b[EW]_[A-Z0-9_]+\b/g) ?? []));
  expect([...given].filter((one) => !tested.has(one)).toSorted()).toEqual([]);
});
