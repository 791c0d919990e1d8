import { readFileSync } from 'node:fs';
import { describe, expect, test } from '@jest/globals';
import { SftConfig } from '../../src/train/config.js';

describe('docs/parity.md', () => {
  const rows = [...readFileSync('docs/parity.md', 'utf8').matchAll(/^\| `([A-Za-z0-9]+)` \| ([^|]+) \|/gm)];
  const documented = rows.map((row) => row[1]);

  test('has one row for every option of SftConfig, and no other', () => {
    expect([...documented].sort()).toEqual(Object.keys(SftConfig.fields).sort());
  });

  test('says of every option whether it is the same', () => {
    for (const [, name, verdict = ''] of rows) {
      expect([name, verdict]).toEqual([name, expect.stringMatching(/^(same|differs|ours|later( TRL| PEFT)?)( ¶)?$/)]);
    }
  });
});
