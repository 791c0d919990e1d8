import { describe, expect, test } from '@jest/globals';
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeDirectory } from '../../src/formats/files/makeDirectory.js';
import { temporaryDirectory } from './temporary.js';

describe('makeDirectory', () => {
  const place = temporaryDirectory();

  test('makes what is above too, leaves what is there', async () => {
    const dir = join(place, 'a', 'b', 'c');
    await makeDirectory(dir);
    writeFileSync(join(dir, 'x'), '1');
    await makeDirectory(dir);
    expect(statSync(join(dir, 'x')).size).toBe(1);
  });

  test('a file in the way is told', async () => {
    const file = join(place, 'x');
    writeFileSync(file, '1');
    await expect(makeDirectory(file)).rejects.toMatchObject({ code: 'EEXIST' });
    await expect(makeDirectory(join(file, 'y', 'z'))).rejects.toMatchObject({ code: 'ENOTDIR' });
  });

  const onLinux = existsSync('/proc/self') ? test : test.skip;
  onLinux('ends where a file system has no place for directories', async () => {
    await expect(makeDirectory('/proc/no-such-place/below')).rejects.toMatchObject({ code: 'ENOENT' });
  });

  test('two at once make one', async () => {
    const dir = join(place, 'd', 'e');
    await Promise.all(Array.from({ length: 8 }, () => makeDirectory(dir)));
    expect(statSync(dir).isDirectory()).toBe(true);
  });
});
