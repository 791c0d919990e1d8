import { readFileSync, readdirSync } from 'node:fs';
import { gunzipSync } from 'node:zlib';
import { tokenizerOfFiles } from '../src/formats/tokenizing/tokenizer.js';
import type { Tokenizer } from '../src/formats/tokenizing/tokenizer.js';
import { sharedPath } from './shared.js';

/** A file below the shared test data as text, unpacked where only its .gz is there. */
export const sharedText = (...segments: ReadonlyArray<string>): string | undefined => {
  const plain = sharedPath(...segments);
  if (plain !== undefined) return readFileSync(plain, 'utf8');
  const packed = sharedPath(...segments.slice(0, -1), `${segments[segments.length - 1] ?? ''}.gz`);
  return packed === undefined ? undefined : gunzipSync(readFileSync(packed)).toString('utf8');
};

/** A tokenizer of the shared test data by the name of its folder. */
export const sharedTokenizer = (name: string): Tokenizer => {
  const segments = name === 'stories260K' ? ['data', 'weights', name, 'hf'] : ['data', 'tokenizers', name];
  const folder = sharedPath(...segments);
  if (folder === undefined) throw new Error(`No shared tokenizer "${name}"`);
  const names = readdirSync(folder)
    .filter((file) => /\.(json|txt|jinja)(\.gz)?$/.test(file) && !/^(config|generation_config)\.json$/.test(file))
    .map((file) => file.replace(/\.gz$/, ''));
  const files = Object.fromEntries(names.map((file) => [file, sharedText(...segments, file) ?? '']));
  const tokenizer = tokenizerOfFiles(files);
  if (tokenizer._tag === 'Left') throw tokenizer.left;
  return tokenizer.right;
};
