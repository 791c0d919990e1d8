/** Every snippet of the README compiles and runs, in the order of the page. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { readFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { built, root } from './cli/rxtune.js';
import { blocksOf, complaints, inPlace, node, runSnippet } from './snippets.js';

const readme = readFileSync(join(root, 'README.md'), 'utf8');
const blocks = (language: string): ReadonlyArray<string> => blocksOf(readme, language);

beforeAll(() => void built());

describe('TypeScript snippets', () => {
  const snippets = blocks('ts');
  test('there are some', () => {
    expect(snippets.length).toBeGreaterThanOrEqual(2);
  });

  test('compile, strictly', async () => {
    expect(await complaints('readme', snippets)).toEqual([]);
  });

  test.each(snippets.map((text, i) => [i, text] as const))('snippet %d runs, and its loss falls', async (i, text) => {
    const { stdout, stderr } = await runSnippet(`readme-${i}`, text);
    if (text.includes("'rxtune/laws'")) {
      expect([stdout, stderr]).toEqual(['the laws hold\n', '']);
      return;
    }
    const losses = [...stdout.matchAll(/^(\d+) (\d+\.\d+)$/gm)];
    expect(losses.map(([, number]) => Number(number))).toEqual(Array.from({ length: 10 }, (_, k) => k + 1));
    expect(Number(losses[9]?.[2])).toBeLessThan(Number(losses[0]?.[2]));
    expect(stderr).toBe('');
  });
});

describe('shell snippets', () => {
  const lines = blocks('sh').flatMap((block) => block.trim().split('\n'));

  test('rxtune’s run, one after another', async () => {
    const calls = lines.filter((line) => line.startsWith('npx rxtune '));
    expect(calls).toHaveLength(5);
    await inPlace(async (cwd) => {
      for (const call of calls) {
        const argv = [...call.slice('npx rxtune '.length).matchAll(/"([^"]*)"|'([^']*)'|(\S+)/g)].map(
          (match) => match[1] ?? match[2] ?? match[3] ?? '',
        );
        const { stdout } = await node(cwd, built(), ...argv);
        // Nobody is shown an empty line.
        if (argv[0] === 'generate') expect(stdout.trim()).not.toBe('');
      }
      expect(JSON.parse(await readFile(join(cwd, 'out', 'adapter_config.json'), 'utf8'))).toMatchObject({
        r: 16,
        peft_type: 'LORA',
      });
      expect((await readFile(join(cwd, 'prepared.jsonl'), 'utf8')).trim().split('\n')).toHaveLength(400);
    });
  });

  test('npm’s name scripts that exist; the tests are what .ci/run runs', () => {
    const { scripts } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8')) as { readonly scripts: object };
    const named = lines.flatMap((line) => [...line.matchAll(/npm run ([\w:]+)/g)].map((match) => match[1] ?? ''));
    expect(named).toEqual(expect.arrayContaining(['build', 'quickstart', 'check']));
    for (const name of named) expect(Object.keys(scripts)).toContain(name);
    expect(readFileSync(join(root, '.ci', 'run'), 'utf8')).toContain('npm ci && npm run check');
  });
});

test('links of the page lead somewhere', async () => {
  const links = [...readme.matchAll(/\]\(([^)#]+)\)/g)]
    .map((match) => match[1] ?? '')
    .filter((link) => !link.startsWith('https://'));
  expect(links.length).toBeGreaterThan(3);
  for (const link of links) await expect(readFile(join(root, link))).resolves.toBeDefined();
});
