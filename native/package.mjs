// What is published, laid out in a folder: the main package, and the engine of this platform as a package of its own, so that
// nobody needs a compiler and nothing runs at install time.
//
//   node native/package.mjs OUT [PLATFORM …]
//
// OUT/rxtune names the engines of the given platforms (linux-x64, darwin-arm64, …; this one if none is given) as optional
// dependencies; npm installs the one that fits. OUT/native-PLATFORM is made of native/build/rxtune.node, and of the kernels for CUDA
// cards where they were built (npm run build:cuda).
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { arch, platform } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { bundle } from './bundle.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const [out, ...given] = process.argv.slice(2);
const here = `${platform()}-${arch()}`;
const engine = join(root, 'native', 'build', 'rxtune.node');

const kernels = join(root, 'native', 'build', 'rxtune.fatbin');

const fail = (message) => {
  console.error(message);
  process.exit(2);
};
if (out === undefined) fail('usage: node native/package.mjs OUT [PLATFORM …]');
if (!existsSync(join(root, 'dist', 'index.js'))) fail('dist is not there: npm run build');
// Up to date, or what is published would lack what its modules ask for.
execFileSync(process.execPath, [join(root, 'native', 'build.mjs')], { stdio: 'inherit' });
if (!existsSync(engine)) fail('native/build/rxtune.node is not there: npm run build');

const main = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));
const write = (folder, manifest, files) => {
  mkdirSync(folder, { recursive: true });
  for (const [from, to] of files) cpSync(from, join(folder, to), { recursive: true });
  writeFileSync(join(folder, 'package.json'), `${JSON.stringify(manifest, null, 2)}\n`);
  console.log(folder);
};

/** Removes the declarations that no entry names, directly or through others: nobody's types come from there. */
const keepNamed = (folder) => {
  const wanted = new Set(
    Object.values(main.exports).flatMap((conditions) =>
      typeof conditions === 'string' ? [] : Object.values(conditions).map(({ types }) => join(folder, types)),
    ),
  );
  // A set is walked over what is added to it on the way.
  for (const file of wanted) {
    for (const [, named] of readFileSync(file, 'utf8').matchAll(/(?:\bfrom |\bimport\()['"](\.[^'"]*)\.js['"]/g))
      wanted.add(join(dirname(file), `${named}.d.ts`));
  }
  for (const entry of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
    const file = join(folder, entry);
    if (entry.startsWith('dist') && entry.endsWith('.d.ts') && !wanted.has(file)) rmSync(file);
  }
};

const { name, version, license } = main;
const engineName = (target) => `@${name}/native-${target}`;
// The C++ library is linked in, the C library is the system's.
const libc = platform() === 'linux' ? { libc: ['glibc'] } : {};
write(
  join(out, `native-${here}`),
  {
    name: engineName(here),
    version,
    description: `The native engine of ${name} for ${here}`,
    license,
    os: [platform()],
    cpu: [arch()],
    ...libc,
    main: 'rxtune.node',
    files: ['rxtune.node', 'rxtune.fatbin', 'LICENSE'],
  },
  [
    [engine, 'rxtune.node'],
    ...(existsSync(kernels) ? [[kernels, 'rxtune.fatbin']] : []),
    [join(root, 'LICENSE'), 'LICENSE'],
  ],
);

const published = join(out, name);
const { scripts: _scripts, devDependencies: _dev, overrides: _overrides, ...manifest } = main;
const targets = given.length === 0 ? [here] : given;
write(
  published,
  { ...manifest, optionalDependencies: Object.fromEntries(targets.map((target) => [engineName(target), version])) },
  main.files.filter((file) => existsSync(join(root, file))).map((file) => [join(root, file), file]),
);
await bundle(join(published, 'dist'));
// Imported late: without a build there is none.
(await import('./optionDocs.mjs')).documentOptions(join(published, 'dist'));
keepNamed(published);
