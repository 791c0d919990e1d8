import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

const root = resolve(import.meta.dirname, '..');
const shared = resolve(root, process.env['RXTUNE_SHARED'] ?? '../shared');

/** A path below the folder of shared test data, or undefined when this checkout has none. */
export const sharedPath = (...segments: ReadonlyArray<string>): string | undefined => {
  const path = resolve(shared, ...segments);
  return existsSync(path) ? path : undefined;
};
