/** The benches are for others to start: what they are asked wrongly is told at once, and what fails says why. */
import { expect, test } from '@jest/globals';
import { spawnSync } from 'node:child_process';
import { chmodSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { orThrow } from '../src/errors.js';
import { loadModel } from '../src/train/loading/load.js';
import { temporaryDirectory } from './formats/temporary.js';
import { describeNative } from './native.js';

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

/** Stands for an interpreter with PyTorch: whatever it is asked takes it a second. */
const asIfPytorch = () => {
  const path = join(checkpoints, 'python.mjs');
  writeFileSync(
    path,
    `#!${process.execPath}
import { createInterface } from 'node:readline';
console.log('{"ready": true}');
createInterface({ input: process.stdin }).on('line', () => console.log('{"seconds": 1, "way": "none"}'));
`,
  );
  chmodSync(path, 0o755);
  return path;
};

// They call the engine's operations themselves, with arguments that nothing else checks.
describeNative('what is timed without a model', () => {
  test.each([
    ['attention', '--lengths', '64,128', '--heads', '2', '--kvHeads', '2', '--headDim', '16'],
    ['gemm', '--only', '512', '--threads', '1'],
  ])('%s has a ratio of each thing that it times', (name, ...argv) => {
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [join(folder, 'run.mjs'), name, '--rounds', '1', ...argv],
      {
        encoding: 'utf8',
        env: { ...process.env, PYTHON: asIfPytorch() },
      },
    );
    expect(stderr).toBe('');
    expect(status).toBe(0);
    const { ratios } = JSON.parse(stdout.trim().split('\n').at(-1) ?? '') as { ratios: Record<string, number> };
    expect(Object.keys(ratios).length).toBeGreaterThan(0);
    for (const ratio of Object.values(ratios)) expect(ratio).toBeGreaterThan(0);
  });
});
