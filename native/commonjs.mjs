// The library once more as CommonJS (.cjs), each file beside the ES module that it is made of. For runners of tests: jest, as most
// projects use it, has require and nothing else, also for what the package imports late. Node.js itself never loads these files: it
// requires the ES modules, so that a program has one copy of the library however its parts name it.
import { writeFileSync } from 'node:fs';
import { basename, dirname, join, relative } from 'node:path';
import { build } from 'esbuild';

/** Published as ES modules alone, which cannot be required there: what is used of them is taken in, as one file. */
const used = {
  hyparquet: ['parquetMetadataAsync', 'parquetReadObjects', 'parquetSchema'],
  'hyparquet-compressors': ['compressors'],
};

const parquet = 'parquet.cjs';

/** Packages of which a part is in that file. */
export const takenIn = [...Object.keys(used), 'hysnappy'];

/** Late imports wait as before; what they name is required then. */
const options = {
  bundle: true,
  format: 'cjs',
  platform: 'node',
  target: 'node20.19',
  outExtension: { '.js': '.cjs' },
  supported: { 'dynamic-import': false },
  tsconfigRaw: '{}',
  logLevel: 'warning',
};

const strict = '"use strict";';
const importMeta = 'const importMeta = { url: require("node:url").pathToFileURL(__filename).href };';

/** Every file stays one, and names others as CommonJS. */
const filesStay = (folder) => ({
  name: 'files stay',
  setup: ({ onResolve }) =>
    onResolve({ filter: /.*/ }, ({ path, kind, importer }) => {
      if (kind === 'entry-point') return undefined;
      if (path.startsWith('.')) return { path: path.replace(/\.js$/, '.cjs'), external: true };
      if (used[path] === undefined) return { path, external: true };
      const to = relative(dirname(importer), join(folder, parquet)).replaceAll('\\', '/');
      return { path: to.startsWith('.') ? to : `./${to}`, external: true };
    }),
});

/** The files that the entries load, at once or late. */
const loadedBy = (entries, { outputs }) => {
  const found = new Set(entries);
  // A set is walked over what is added to it on the way.
  for (const file of found)
    for (const { path, external } of outputs[file].imports) if (external !== true) found.add(path);
  return [...found];
};

/**
 * Writes the .cjs of each entry and of all that it loads, with declarations for each entry. `metafile` tells what the ES modules of
 * `dist` import; `shared` is the folder of what entries share.
 */
export const toCommonJs = async ({ root, dist, shared, entries, metafile }) => {
  const outputOf = (name) => relative(root, join(dist, name)).replaceAll('\\', '/');
  const files = loadedBy(entries.map(outputOf), metafile);
  await build({
    ...options,
    absWorkingDir: root,
    entryPoints: files,
    outbase: dist,
    outdir: dist,
    plugins: [filesStay(shared)],
    define: { 'import.meta': 'importMeta' },
    banner: { js: `${strict}\n${importMeta}` },
  });
  await build({
    ...options,
    banner: { js: strict },
    external: ['fzstd'],
    stdin: {
      contents: Object.entries(used)
        .map(([name, values]) => `export { ${values.join(', ')} } from '${name}';`)
        .join('\n'),
      resolveDir: root,
    },
    outfile: join(shared, parquet),
  });
  for (const name of entries) {
    const declarations = join(dist, name.replace(/\.js$/, '.d.cts'));
    // A compiler that knows no require of ES modules says so here, where nobody does it.
    const text = `// @ts-ignore\nexport * from './${basename(name)}';\n`;
    writeFileSync(declarations, text);
  }
};
