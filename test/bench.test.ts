/** The benches are for others to start: what they are asked wrongly is told at once, and what fails says why. */
import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { orThrow } from '../src/errors.js';
import { loadModel } from '../src/train/loading/load.js';
import { temporaryDirectory } from './formats/temporary.js';

const checkpoints = temporaryDirectory();
const folder = join(import.meta.dirname, '..', 'bench');
const run = (...argv: ReadonlyArray<string>) => spawnSync(process.execPath, argv, { encoding: 'utf8' });
const bench = (...argv: ReadonlyArray<string>) => run(join(folder, 'run.mjs'), ...argv);

test('step names the figures that there are, where it is asked for another', () => {
  const { status, stderr } = bench('step', '--only', 'full-float32,full-float16');
  expect(status).toBe(2);
  expect(stderr).toContain('full-float16');
  expect(stderr).toContain('lora-bfloat16');
});

/** What is said of a side whose program is `script`, given so many seconds to be ready. */
const started = (script: string, seconds: number) =>
  run(
    '--input-type=module',
    '-e',
    `import { player } from ${JSON.stringify(join(folder, 'turns.mjs'))};
    const side = await player('One side', process.execPath, ['-e', ${JSON.stringify(script)}], {}, ${seconds}).catch((error) => error);
    console.log(side instanceof Error ? side.message : await side.turn().catch((error) => error.message));
    process.exit();`,
  ).stdout.trim();

test('a side that does not start, or not in time, or ends early, says why', () => {
  expect(started("console.error('no room on the card'); process.exit(3)", 60)).toBe(
    'One side did not start (exit code 3): no room on the card',
  );
  expect(started('setInterval(() => 0, 1000)', 0.3)).toMatch(/^One side did not start .*not ready in 0 s$/);
  expect(
    started("console.log('{}'); process.stdin.on('data', () => { console.error('lost'); process.exit(1); })", 60),
  ).toBe('One side ended early (exit code 1): lost');
});

test.each(['gpt2-tiny', 'llama-tiny'])('a checkpoint of %s that PyTorch did not make can be loaded', async (shape) => {
  const dir = join(checkpoints, shape);
  expect(run(join(folder, 'gpu', 'checkpoint.mjs'), shape, dir).status).toBe(0);
  const { model } = await orThrow(loadModel(dir, { engine: 'cpu' }));
  expect(model.config.vocabSize).toBe(320);
});
