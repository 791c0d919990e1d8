/** What the code that prepares rows is: its own files, the releases of what it builds on, and the tables of the engine it runs in. */
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync } from 'node:fs';
import { endianness } from 'node:os';
import { join } from 'node:path';
import { packageFolder } from '../../packageFolder.js';

/** Folders that no prepared row depends on. */
const apart: ReadonlySet<string> = new Set(['cli', 'laws', 'model', 'native']);

const codeFiles = (root: string, extension: string): ReadonlyArray<string> => {
  const found: Array<string> = [];
  for (const entry of readdirSync(root, { withFileTypes: true })) {
    if (!entry.isDirectory()) found.push(entry.name);
    else if (!apart.has(entry.name)) {
      const below = readdirSync(join(root, entry.name), { recursive: true, encoding: 'utf8' });
      found.push(...below.map((name) => join(entry.name, name)));
    }
  }
  return found.filter((name) => name.endsWith(extension) && !name.endsWith(`.d${extension}`)).toSorted();
};

const hashed = (): string | undefined => {
  const folder = packageFolder();
  // In a bundle other code stands in the place of these files.
  if (folder === undefined) return undefined;
  const { manifest, code, extension } = folder;
  try {
    // Dependencies stand in it with their exact releases.
    const hash = createHash('sha256').update(manifest);
    // At once: hundreds of small files take ten times as long when each waits its turn.
    for (const name of codeFiles(code, extension)) hash.update(`\n${name}\n`).update(readFileSync(join(code, name)));
    // Which characters are letters (\p{L}) is the engine's to say, and so is how numbers lie in memory.
    const { v8, unicode } = process.versions;
    return hash.update(JSON.stringify([v8, unicode, endianness()])).digest('hex');
  } catch {
    return undefined;
  }
};

let known: { readonly version: string | undefined } | undefined;

/**
 * A hash of the code's files rather than a number raised by hand: a change of any stage makes other rows, and nobody can forget to
 * say so. Undefined where the files cannot be found.
 */
export const codeVersion = (): string | undefined => {
  known ??= { version: hashed() };
  return known.version;
};
