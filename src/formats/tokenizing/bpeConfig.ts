import type { Vocabulary } from './vocabulary.js';

/**
 * A BPE model but for its merges, as the `tokenizers` library has it; without dropout, suffixes and prefixes of subwords. Both kinds
 * of it work on ids alone: a numeric merge table, a table of words seen before, no token strings.
 */
export interface BpeConfig {
  readonly vocab: Vocabulary;
  /** The token of what the vocabulary lacks. */
  readonly unkToken?: string;
  /** Whether unknown characters side by side are one token. */
  readonly fuseUnk: boolean;
  /** Whether an unknown character becomes the tokens of its bytes. */
  readonly byteFallback: boolean;
  /** Whether a word that is a token is never merged from its parts. */
  readonly ignoreMerges: boolean;
}
