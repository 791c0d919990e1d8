/** What is written and read on a disk that fails: nothing half-written stays, and nothing that cannot be read passes for missing. */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, expect, jest, test } from '@jest/globals';
import { failingDisk } from '../failingDisk.js';

const disk = failingDisk();
jest.unstable_mockModule('node:fs/promises', () => disk.exports);
const { orThrow, render } = await import('../../src/errors.js');
const { writeTextAtomically } = await import('../../src/formats/files/atomicFile.js');
const { writeInto } = await import('../../src/formats/files/directory.js');
const { openJsonLog } = await import('../../src/formats/json/jsonLines.js');
const { loadTokenizer } = await import('../../src/formats/tokenizing/loadTokenizer.js');

const root = mkdtempSync(join(tmpdir(), 'rxtune-disk-'));
afterAll(() => rmSync(root, { recursive: true, force: true }));

test('a line of a log of which a full disk takes half is taken out again, and the next goes in whole', async () => {
  const file = join(root, 'log.jsonl');
  const log = await orThrow(openJsonLog(file));
  await orThrow(log.append({ step: 1 }));
  disk.reset({ at: 0, code: 'ENOSPC' });
  expect(await log.append({ step: 2 })()).toMatchObject({ left: { code: 'E_DISK_FULL' } });
  expect(readFileSync(file, 'utf8')).toBe('{"step":1}\n');
  await orThrow(log.append({ step: 3 }));
  await orThrow(log.close());
  expect(readFileSync(file, 'utf8')).toBe('{"step":1}\n{"step":3}\n');
});

test.each(['ENOSPC', 'EIO'])('%s at any call of writing a directory is told of the file, once', async (code) => {
  const dir = join(root, `models-${code}`);
  const write = () => writeInto(dir, (to) => writeTextAtomically(join(to, 'config.json'), '{}'))();
  disk.reset();
  expect(await write()).toMatchObject({ right: ['config.json'] });
  const count = disk.calls().length;
  for (let at = 0; at < count; at++) {
    rmSync(dir, { recursive: true, force: true });
    disk.reset({ at, code });
    const outcome = await write();
    const call = disk.calls()[at] ?? '';
    if (outcome._tag === 'Right') throw new Error(`${call} failed, and nobody was told`);
    const told = render(outcome.left);
    expect(told.split(root)).toHaveLength(2);
    // What cannot be removed stays.
    if (call.startsWith('rm ')) continue;
    expect(told).not.toContain('.tmp');
    const left = existsSync(dir) ? readdirSync(dir, { recursive: true }) : [];
    expect(left.filter((name) => String(name).endsWith('.tmp'))).toEqual([]);
  }
  expect(disk.open()).toEqual([]);
});

test('a tokenizer that is there and cannot be read is not missing', async () => {
  const file = join(root, 'tokenizer.json');
  writeFileSync(file, '{}');
  for (const [code, as] of [
    ['EACCES', 'E_NO_PERMISSION'],
    ['EIO', 'E_FILE'],
  ] as const) {
    disk.reset();
    await loadTokenizer(root)();
    const at = disk.calls().findIndex((call) => call === `readFile ${file}`);
    disk.reset({ at, code });
    expect(await loadTokenizer(root)()).toMatchObject({ left: { code: as, details: { file } } });
  }
});
