/** What the files of a tokenizer say, put into one form. */
import type { AddedToken } from './addedTokens.js';

export interface TokenizerSpec {
  /** tokenizer.json without its added tokens; every part is there, null where the file has none. */
  readonly normalizer: unknown;
  readonly preTokenizer: unknown;
  readonly postProcessor: unknown;
  readonly decoder: unknown;
  readonly model: Readonly<Record<string, unknown>>;
  /** In order of id. */
  readonly addedTokens: ReadonlyArray<AddedToken>;
  /** Special tokens by name: `bos_token`, `eos_token`, … */
  readonly specialTokens: Readonly<Record<string, string>>;
  /** tokenizer_config.json. */
  readonly config: Readonly<Record<string, unknown>>;
}
