/** Where results go when there is no room for them, or nobody reads them. */
import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync } from 'node:fs';
import { built } from './rxtune.js';

const full = '/dev/full';

(existsSync(full) ? test : test.skip)('an output that takes nothing is told of', () => {
  const out = openSync(full, 'w');
  try {
    const { status, stderr } = spawnSync(process.execPath, [built(), '--help'], { stdio: ['ignore', out, 'pipe'] });
    expect(String(stderr)).toBe('rxtune: standard output cannot be written (ENOSPC) [E_STDOUT]\n');
    expect(status).toBe(1);
  } finally {
    closeSync(out);
  }
});
