/** The package inside the bundle of another program, as a bundler makes it of the package's modules. */
import { execFile } from 'node:child_process';
import { symlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { expect, test } from '@jest/globals';
import { build } from 'esbuild';
import { inTemporary, root } from './cli/rxtune.js';

const program = `
  import { tensor } from '@tensorflow/tfjs-core';
  import { chooseEngine, layers, orThrow, serveDashboard } from './src/index.js';
  const main = async () => {
    await orThrow(chooseEngine({ engine: 'cpu' }));
    const norm = layers.rmsNorm('norm', { eps: 0, offset: 0 });
    const { value } = norm({ 'norm.weight': tensor([1, 2]) }, tensor([[3, 4]]), { weight: () => false, input: false });
    console.log(Array.from(await value.data(), (x) => x.toFixed(4)).join(' '), typeof serveDashboard);
  };
  void main();`;

test.each([
  ['cjs', 'bundle.cjs'],
  ['esm', 'bundle.mjs'],
] as const)('runs as %s', (format, name) =>
  inTemporary(async (directory) => {
    const outfile = join(directory, name);
    await build({
      stdin: { contents: program, resolveDir: root, loader: 'ts' },
      bundle: true,
      format,
      platform: 'node',
      // tfjs finds its backends by itself, so there is one copy of it.
      packages: 'external',
      outfile,
      logLevel: 'silent',
    });
    await symlink(join(root, 'node_modules'), join(directory, 'node_modules'), 'junction');
    const { stdout } = await promisify(execFile)(process.execPath, [outfile], {
      cwd: directory,
      env: { ...process.env, NODE_OPTIONS: '' },
    });
    expect(stdout).toBe('0.8485 2.2627 function\n');
  }),
);
