/** A tokenizer of forty letters, which are all that tiny models know. */
import { makeTokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import type { Tokenizer } from '../../src/formats/tokenizing/tokenizer.js';
import { orThrow } from '../model/loadModel.js';

export const letters: Tokenizer = orThrow(
  makeTokenizer({
    pre_tokenizer: { type: 'ByteLevel', add_prefix_space: false, use_regex: true },
    decoder: { type: 'ByteLevel' },
    model: {
      type: 'BPE',
      vocab: Object.fromEntries(Array.from({ length: 40 }, (_, i) => [String.fromCodePoint(33 + i), i])),
      merges: [],
    },
  }),
);
