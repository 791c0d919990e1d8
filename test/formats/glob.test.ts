/** Patterns of file names, on lists and on the disk. */
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from '@jest/globals';
import { isFatal } from '../../src/errors.js';
import { expandPattern, pathMatcher } from '../../src/formats/files/glob.js';
import { temporaryDirectory } from './temporary.js';

const name = 'a'.repeat(200);
const dir = temporaryDirectory();

describe('patterns of file names', () => {
  test.each([
    ['*.json', 'a.json', true],
    ['*.json', 'x/a.json', false],
    ['**/*.json', 'x/y/a.json', true],
    ['**', 'x/y', true],
    ['{a,bc}?.[jt]s', 'bcd.ts', true],
    ['[!a]*', 'abc', false],
  ])('%s on %s: %s', (pattern, path, matches) => {
    expect(pathMatcher(pattern)(path)).toBe(matches);
  });

  test('a row of stars is not tried every way', () => {
    expect(pathMatcher('*a'.repeat(40) + '*b')(name)).toBe(false);
    expect(pathMatcher('{a,aa,*}'.repeat(20) + 'b')(name)).toBe(false);
    expect(pathMatcher('**/*a/'.repeat(20) + 'b')('a/'.repeat(60) + 'c')).toBe(false);
    expect(pathMatcher('**/*a/'.repeat(20) + 'b')('a/'.repeat(60) + 'b')).toBe(true);
  });

  test('nor is it on the disk, where a row of ** reads each directory once', async () => {
    const deep = join(dir, ...Array.from({ length: 30 }, () => 'd'));
    await mkdir(deep, { recursive: true });
    await writeFile(join(deep, 'a.json'), '[]');
    expect(await expandPattern(`${dir}/${'**/'.repeat(30)}*.json`)).toEqual([join(deep, 'a.json')]);
    expect(await expandPattern(`${dir}/${'**/*/'.repeat(15)}*.json`)).toEqual([join(deep, 'a.json')]);
  });

  test('** does not go through links, which may lead in a ring; a link that is named is followed', async () => {
    const root = join(dir, 'linked');
    await mkdir(join(root, 'data', 'more'), { recursive: true });
    await mkdir(join(root, 'other'));
    await writeFile(join(root, 'data', 'a.json'), '[]');
    await writeFile(join(root, 'data', 'more', 'b.json'), '[]');
    await symlink('../data', join(root, 'other', 'link'));
    await symlink('..', join(root, 'data', 'ring'));
    const own = [join(root, 'data', 'a.json'), join(root, 'data', 'more', 'b.json')];
    expect(await expandPattern(`${root}/**/*.json`)).toEqual(own);
    const linked = [join(root, 'other', 'link', 'a.json')];
    expect(await expandPattern(`${root}/other/link/*.json`)).toEqual(linked);
    expect(await expandPattern(`${root}/other/*/*.json`)).toEqual(linked);
  });

  test('what is no pattern is refused in words', async () => {
    const error: unknown = await expandPattern('/tmp/*/[z-a]').catch((thrown: unknown) => thrown);
    expect(isFatal(error)).toBe(true);
    expect(error).toMatchObject({ code: 'E_NO_FILE', kind: 'usage' });
  });
});
