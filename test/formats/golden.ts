import { readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { makeTokenizer, type Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';

const folder = resolve(import.meta.dirname, '..', 'golden');

/** A file of test/golden, parsed. */
export const golden = (name: string): unknown => {
  const bytes = readFileSync(resolve(folder, name));
  return JSON.parse((name.endsWith('.gz') ? gunzipSync(bytes) : bytes).toString('utf8')) as unknown;
};

export interface GoldenRow {
  readonly ids: ReadonlyArray<number>;
  /** Code points: start and end of each id. */
  readonly offsets: ReadonlyArray<number>;
  /** Null when special tokens change nothing. */
  readonly with_special: ReadonlyArray<number> | null;
  readonly decoded: string;
  readonly skipped: string;
}

interface GoldenTokenizers {
  readonly texts: ReadonlyArray<string>;
  readonly tokenizers: Readonly<
    Record<string, { readonly tokenizer: Record<string, unknown>; readonly rows: ReadonlyArray<GoldenRow> }>
  >;
}

/** What reference/tokenizer_offsets.py recorded. */
export const goldenTokenizers = golden('tokenizers.json.gz') as GoldenTokenizers;

/** tokenizer.json of one of them. */
export const goldenTokenizerJson = (name: string): Record<string, unknown> => {
  const found = goldenTokenizers.tokenizers[name];
  if (found === undefined) throw new Error(`No golden tokenizer "${name}"`);
  return found.tokenizer;
};

/** One of them, made. */
export const goldenTokenizer = (name: string, config: unknown = {}): Tokenizer => {
  const made = makeTokenizer(goldenTokenizerJson(name), config);
  if (made._tag === 'Left') throw made.left;
  return made.right;
};
