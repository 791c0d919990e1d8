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

test('every code that a comment or a page names can be given', () => {
  const texts = sources('src');
  const comment = /\/\*[^]*?\*\/|\/\/.*/g;
  const literal = /(?<=['"])[EW]_[A-Z0-9_]+(?=['"])/g;
  const given = new Set(texts.flatMap((text) => text.replace(comment, '').match(literal) ?? []));
  const pages = ['README.md', ...readdirSync(join(root, 'docs')).map((name) => join('docs', name))]
    .filter((name) => name.endsWith('.md'))
    // Snippets have codes of their own.
    .map((name) => readFileSync(join(root, name), 'utf8').replace(/^```[^]*?^```/gm, ''));
  const comments = texts
    .flatMap((text) => text.match(comment) ?? [])
    .map((text) => text.replace(/dataError\('\w+'/g, ''));
  // Families are written with an ellipsis, `E_HUB_…`.
  const named = [...comments, ...pages].flatMap((text) => text.match(/\b[EW]_[A-Z0-9_]*[A-Z0-9]\b(?!_?…)/g) ?? []);
  expect(named.length).toBeGreaterThan(100);
  expect([...new Set(named)].filter((one) => !given.has(one)).toSorted()).toEqual([]);
});
