/** Where this package lies, whichever of its files asks: sources, compiled files, or what these were joined into. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { moduleUrl } from '../moduleUrl.js';

interface PackageFolder {
  readonly root: string;
  readonly manifest: string;
  /** The folder of the code that runs: `src` or `dist`. */
  readonly code: string;
  /** Of the files of that code: `.ts` or `.js`. */
  readonly extension: string;
}

const find = (): PackageFolder | undefined => {
  try {
    const file = fileURLToPath(moduleUrl(import.meta));
    let root = dirname(file);
    while (!existsSync(join(root, 'package.json'))) {
      if (root === dirname(root)) return undefined;
      root = dirname(root);
    }
    const manifest = readFileSync(join(root, 'package.json'), 'utf8');
    if ((JSON.parse(manifest) as { readonly name?: unknown }).name !== 'rxtune') return undefined;
    const extension = extname(file);
    return { root, manifest, code: join(root, extension === '.ts' ? 'src' : 'dist'), extension };
  } catch {
    return undefined;
  }
};

let known: { readonly folder: PackageFolder | undefined } | undefined;

/** Undefined in the bundle of another program, where none of its files are. */
export const packageFolder = (): PackageFolder | undefined => {
  known ??= { folder: find() };
  return known.folder;
};
