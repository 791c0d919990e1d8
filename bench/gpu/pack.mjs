/** Everything bench/gpu.mjs needs, in one archive, for a machine that has a card and neither Node.js nor a network. */
import { execFileSync, spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative, resolve } from 'node:path';

const development = [
  'jest',
  '@jest/globals',
  '@swc/core',
  '@swc/jest',
  '@tensorflow/tfjs',
  'fast-check',
  '@huggingface/jinja',
];

/** Folders of the packages, with all that they depend on and is there. */
const packages = (root, names) => {
  const found = new Set();
  const visit = (from, name) => {
    for (let folder = from; ; folder = dirname(folder)) {
      const at = join(folder, 'node_modules', name);
      if (existsSync(join(at, 'package.json'))) {
        if (found.has(at)) return;
        found.add(at);
        const { dependencies, optionalDependencies, peerDependencies } = JSON.parse(
          readFileSync(join(at, 'package.json'), 'utf8'),
        );
        for (const next of Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies }))
          visit(at, next);
        return;
      }
      if (folder === root || dirname(folder) === folder) return;
    }
  };
  for (const name of names) visit(root, name);
  return [...found];
};

/** Not run: types, maps, sources, documentation; of tfjs only what Node.js loads. */
const wanted = (path) => {
  if (/\.(map|md|markdown|flow|d\.[cm]?ts)$/.test(path)) return false;
  const [, inside] = /@tensorflow\/[^/]+\/(.*)$/.exec(path) ?? [];
  if (inside === undefined || !/\.[a-z]+$/.test(inside)) return true;
  return /^package\.json$|\.node\.js$|\.wasm$|^wasm-out\//.test(inside);
};

/** Writes the archive (tar, xz), with a folder of Python packages where one is named, and returns its size in bytes. */
export const pack = (root, target, python = '') => {
  const { dependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
  const needed = [
    'native/build/rxtune.node',
    'native/build/rxtune.fatbin',
    'native/build/cuda/check-plain',
    'dist/index.js',
  ];
  const missing = needed.filter((path) => !existsSync(join(root, path)));
  if (missing.length > 0)
    throw new Error(
      `not built: ${missing.join(', ')} (npm run build && npm run build:cuda && npm run test:cuda -- --only=rope)`,
    );
  const folder = mkdtempSync(join(tmpdir(), 'rxtune-pack-'));
  const take = (path, filter = () => true) => {
    mkdirSync(dirname(join(folder, path)), { recursive: true });
    cpSync(join(root, path), join(folder, path), {
      recursive: true,
      filter: (from) => statSync(from).isDirectory() || filter(from),
    });
  };
  try {
    for (const path of [
      'package.json',
      'jest.config.js',
      'src',
      'test',
      'property-tests',
      'bench',
      'native/cc',
      'native/cuda',
    ])
      take(path);
    for (const path of [
      'native/build.mjs',
      'native/build/kernel_list.h',
      'native/build/rxtune.key',
      ...needed.slice(0, 3),
    ])
      take(path);
    take('dist', wanted);
    for (const at of packages(root, [...Object.keys(dependencies), ...development]))
      cpSync(at, join(folder, relative(root, at)), {
        recursive: true,
        // a package inside another one comes by itself, where it is needed
        filter: (from) =>
          !relative(at, from).split('/').includes('node_modules') && (statSync(from).isDirectory() || wanted(from)),
      });
    if (python !== '') cpSync(resolve(python), join(folder, 'python'), { recursive: true });
    cpSync(process.execPath, join(folder, 'node'));
    // Names for debuggers are megabytes; those that add-ons link against stay. Where there is no strip, they travel.
    spawnSync('strip', ['--strip-all', join(folder, 'node')]);
    writeFileSync(
      join(folder, 'packed.json'),
      `${JSON.stringify({ node: process.version, made: new Date().toISOString() })}\n`,
    );
    mkdirSync(dirname(resolve(target)), { recursive: true });
    execFileSync('tar', ['-cf', resolve(target), '-I', 'xz --x86 --lzma2=preset=6 -T2', '-C', folder, '.'], {
      stdio: 'inherit',
    });
    return statSync(target).size;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
};
