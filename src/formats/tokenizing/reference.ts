/**
 * The path for tokenizers that our own code does not cover exactly: @huggingface/tokenizers runs them. Its offsets are found
 * by looking each token's text up in the text, which is exact where normalisation changes no characters.
 */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import type { Encoder } from './encoder.js';
import { type ReferenceTokenizer, Tokenizer as Reference } from './huggingface.js';
import type { TokenizerSpec } from './spec.js';

export interface ReferenceEncoder extends Encoder {
  readonly decode: (tokens: ReadonlyArray<string>) => string;
}

/** tokenizer.json as @huggingface/tokenizers wants it, with every added token in it. */
const referenceJson = (spec: TokenizerSpec): object => ({
  normalizer: spec.normalizer,
  pre_tokenizer: spec.preTokenizer,
  post_processor: null,
  decoder: spec.decoder,
  model: spec.model,
  added_tokens: spec.addedTokens.map(({ singleWord, ...token }) => ({ ...token, single_word: singleWord })),
});

export const referenceEncoder = (spec: TokenizerSpec): Either<FatalError, ReferenceEncoder> => {
  let reference: ReferenceTokenizer;
  try {
    reference = new Reference(referenceJson(spec), {});
  } catch (cause) {
    return left(
      fatal('E_TOKENIZER_UNSUPPORTED', cause instanceof Error ? cause.message : String(cause), {
        file: 'tokenizer.json',
        cause,
      }),
    );
  }
  const contents = new Set(spec.addedTokens.map(({ content }) => content));
  const encode = (text: string): { ids: number[]; tokens: string[] } => {
    const { ids, tokens } = reference.encode(text, { add_special_tokens: false });
    return { ids, tokens };
  };
  /** What a token looks like in the text: without marks of a word's begin or inside. */
  const plain = (token: string): string =>
    contents.has(token) ? token : token.replace(/^##|\u2581/g, (mark) => (mark === '##' ? '' : ' '));
  return right({
    ids: (text) => Int32Array.from(encode(text).ids),
    idsWithOffsets: (text) => {
      const { ids, tokens } = encode(text);
      const offsets = new Int32Array(ids.length * 2);
      const folded = text.toLowerCase();
      const searched = folded.length === text.length ? folded : text;
      let at = 0;
      // What is not in the rest of the text is not in the rest of that either: each spelling is missed once.
      const absent = new Set<string>();
      const find = (wanted: string): number => {
        const found = absent.has(wanted) ? -1 : searched.indexOf(wanted, at);
        if (found < 0) absent.add(wanted);
        return found;
      };
      tokens.forEach((token, i) => {
        const wanted = searched === text ? plain(token) : plain(token).toLowerCase();
        let start = find(wanted);
        let length = wanted.length;
        if (start < 0) {
          start = find(wanted.trim());
          length = wanted.trim().length;
        }
        if (start < 0 || length === 0) [start, length] = [at, 0];
        offsets[2 * i] = start;
        offsets[2 * i + 1] = start + length;
        at = start + length;
      });
      return { ids: Int32Array.from(ids), offsets };
    },
    decode: (tokens) => reference.decoder?.decode([...tokens]) ?? tokens.join(' '),
  });
};
