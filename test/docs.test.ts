/** Every snippet of the pages under docs compiles, runs, and prints what the page says. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { readdirSync, readFileSync } from 'node:fs';
import { access } from 'node:fs/promises';
import { join } from 'node:path';
import { built, root } from './cli/rxtune.js';
import { blocksOf, complaints, runSnippet } from './snippets.js';

const pages = readdirSync(join(root, 'docs'))
  .filter((name) => name.endsWith('.md'))
  .map((name) => ({ name, text: readFileSync(join(root, 'docs', name), 'utf8') }));

beforeAll(() => void built());

test('snippets compile, strictly', async () => {
  expect(
    await complaints(
      'docs',
      pages.flatMap(({ text }) => blocksOf(text, 'ts')),
    ),
  ).toEqual([]);
});

describe.each(pages)('docs/$name', ({ name, text }) => {
  test('links lead somewhere', async () => {
    const links = [...text.matchAll(/\]\(([^)#]+)\)/g)]
      .map((match) => match[1] ?? '')
      .filter((link) => !link.startsWith('https://'));
    await Promise.all(links.map((link) => access(join(root, 'docs', link))));
  });

  const snippets = blocksOf(text, 'ts');
  if (snippets.length === 0) return;

  const shown = [...text.matchAll(/^```ts\n([^]*?)^```\n\n```text\n([^]*?)^```/gm)].map(
    ([, snippet = '', output = '']) => ({ snippet, output }),
  );

  test('each shows its output', () => {
    expect(shown).toHaveLength(snippets.length);
  });

  test.each(shown.map((pair, i) => ({ ...pair, i })))('snippet $i prints what the page says', async (pair) => {
    const { stdout, stderr } = await runSnippet(`docs-${name}-${pair.i}`, pair.snippet);
    expect(stderr).toBe('');
    expect(stdout.replace(/ +$/gm, '')).toBe(pair.output);
  });
});
