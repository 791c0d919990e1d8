// Joins the modules of `dist` into a few files, one an entry and what entries share: Node.js takes half a millisecond of processor
// time to find, read and compile each file, whatever is in it, and there are 400. Declarations stay as they are, a file a module.
// Other dependencies than those named below stay outside. Nothing is squeezed, so that a stack trace can be read: functions are called
// as in the sources, and each module's path stands above its lines.
//
//   node native/bundle.mjs
import { existsSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { build } from 'esbuild';
import { takenIn, toCommonJs } from './commonjs.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');

/** The exports of the package. */
const exported = ['index.ts', 'data.ts', 'laws/index.ts'];

/** What others name: those, the commands, the entry of threads, and the engine. */
const entries = [...exported, 'cli/main.ts', 'train/preparing/crew/worker.ts', 'native/register.ts'];

/** What the programs of this repository measure besides. */
const measured = ['train/memory/fitMemory.ts'];

/** Read as text by the page that it is part of. */
const asTheyAre = ['train/report/client.js'];

const joined = 'joined';

const { dependencies, peerDependencies } = JSON.parse(readFileSync(join(root, 'package.json'), 'utf8'));

/**
 * Taken in: imported, these CommonJS files would be read through for their names first, which takes ten times as long as running them.
 * Their values are plain data and know each other by a tag, so it does not matter that a program may have another copy.
 */
const inlined = ['fp-ts', 'io-ts'];

/** Both by their ES modules, of which only what is used is taken. */
const modulesOf = {
  name: 'ES modules',
  setup: ({ onResolve, resolve: resolved }) =>
    onResolve({ filter: /^(fp-ts\/lib\/|io-ts$)/ }, ({ path, kind, resolveDir }) =>
      resolved(path === 'io-ts' ? 'io-ts/es6/index.js' : path.replace('/lib/', '/es6/'), { kind, resolveDir }),
    ),
};

/** The commands as one file: nine that share a little each would make fifty. */
const commandsTogether = {
  name: 'commands together',
  setup: ({ onResolve, onLoad }) => {
    const folder = join(root, 'src', 'cli');
    onResolve({ filter: /^\.\// }, ({ kind, importer }) =>
      kind === 'dynamic-import' && importer === join(folder, 'commands.ts')
        ? { path: 'commands', namespace: 'together' }
        : undefined,
    );
    onLoad({ filter: /.*/, namespace: 'together' }, () => {
      const text = readFileSync(join(folder, 'commands.ts'), 'utf8');
      const names = [...text.matchAll(/import\('(.*?)'\)/g)].map(([, name]) => name);
      return { contents: names.map((name) => `export * from '${name}';`).join('\n'), resolveDir: folder };
    });
  },
};

/** Replaces the modules of a compiled `dist`, whether they were joined before or not; `more` are further entries. */
export const bundle = async (folder, more = []) => {
  const dist = resolve(folder);
  rmSync(join(dist, joined), { recursive: true, force: true });
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [...entries, ...more].map((name) => join('src', name)),
    outbase: 'src',
    outdir: dist,
    chunkNames: `${joined}/[name]-[hash]`,
    bundle: true,
    splitting: true,
    format: 'esm',
    platform: 'node',
    target: 'node20.19',
    external: Object.keys({ ...dependencies, ...peerDependencies }).filter((name) => !inlined.includes(name)),
    plugins: [modulesOf, commandsTogether],
    metafile: true,
    logLevel: 'warning',
  });
  const written = Object.keys(metafile.outputs).map((name) => relative(dist, resolve(root, name)));
  const kept = new Set([...written, ...asTheyAre.map((name) => join(name))]);
  await toCommonJs({
    root,
    dist,
    shared: join(dist, joined),
    entries: exported.map((name) => name.replace(/\.ts$/, '.js')),
    metafile,
  });
  const licences = [...inlined, ...takenIn].map(
    (name) => `${name}\n\n${readFileSync(join(root, 'node_modules', name, 'LICENSE'), 'utf8')}`,
  );
  writeFileSync(join(dist, joined, 'LICENCES.txt'), licences.join('\n'));
  // Declarations of sources that were moved since would stay for ever, and be documented in place of those that count.
  const stale = (name) =>
    name.endsWith('.js')
      ? !kept.has(name)
      : name.endsWith('.d.ts') && !existsSync(join(root, 'src', name.replace(/\.d\.ts$/, '.ts')));
  for (const name of readdirSync(dist, { recursive: true, encoding: 'utf8' }))
    if (stale(name)) rmSync(join(dist, name));
};

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const dist = join(root, 'dist');
  await bundle(dist, measured);
  // Imported late: it reads what was just made.
  (await import('./optionDocs.mjs')).documentOptions(dist);
}
