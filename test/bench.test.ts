/** The benches are for others to start: what they are asked wrongly is told at once. */
import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';

const bench = (...argv: ReadonlyArray<string>) =>
  spawnSync(process.execPath, [join(import.meta.dirname, '..', 'bench', 'run.mjs'), ...argv], { encoding: 'utf8' });

test('step names the figures that there are, where it is asked for another', () => {
  const { status, stderr } = bench('step', '--only', 'full-float32,full-float16');
  expect(status).toBe(2);
  expect(stderr).toContain('full-float16');
  expect(stderr).toContain('lora-bfloat16');
});
