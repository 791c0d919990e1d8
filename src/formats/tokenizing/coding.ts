/** Which code turns texts into ids and back: our own where it covers the files exactly, else @huggingface/tokenizers. */
import { type Either, isLeft, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import { type Encoder, makeEncoder } from './encoder.js';
import { compileNormalizer } from './normalizer.js';
import { type Risk, risksIn } from './pattern.js';
import type { Surround } from './postProcessor.js';
import { compilePreTokenizer, type PreTokenizer } from './preTokenizer.js';
import { referenceEncoder } from './reference.js';
import type { TokenizerSpec } from './spec.js';
import { compileDecoder } from './tokenDecoder.js';
import type { TokenModel } from './tokenModel.js';

const unsupported = (message: string, field: string): FatalError =>
  fatal('E_TOKENIZER_UNSUPPORTED', message, { file: 'tokenizer.json', field });

/** The expressions of a tokenizer that could take long. */
export const risksOf = (spec: TokenizerSpec): ReadonlyArray<Risk> =>
  Object.entries({
    normalizer: spec.normalizer,
    pre_tokenizer: spec.preTokenizer,
    decoder: spec.decoder,
  }).flatMap(([field, part]) => risksIn(part, field));

/** `E_TOKENIZER_UNSUPPORTED`: a text could keep the matcher of the reference busy for ever. */
export const tooRisky = ({ field, expression, refused }: Risk): FatalError =>
  fatal('E_TOKENIZER_UNSUPPORTED', 'a regular expression could take longer than anybody waits on some texts', {
    file: 'tokenizer.json',
    field,
    actual: expression.length > 200 ? `${expression.slice(0, 200)}…` : expression,
    hint: `our own matcher, whose time grows with the text alone, does not run it: ${
      refused ?? 'another part of this tokenizer needs @huggingface/tokenizers, which has none'
    }; use the original tokenizer of the model`,
  });

/** The pre-tokeniser, undefined where ours does not cover it; refused where the reference would run it wrongly. */
export const preTokenizerOf = (spec: TokenizerSpec): Either<FatalError, PreTokenizer | undefined> => {
  const preTokenizer = compilePreTokenizer(spec.preTokenizer);
  return preTokenizer !== undefined && 'refused' in preTokenizer
    ? left(unsupported(`pre-tokenizer ${preTokenizer.refused} would give wrong ids`, 'pre_tokenizer'))
    : right(preTokenizer);
};

/** What has been compiled of a spec; undefined is what ours does not cover. */
export interface CompiledParts {
  readonly preTokenizer: PreTokenizer | undefined;
  readonly model: TokenModel | undefined;
  readonly surround: Surround | undefined;
}

export interface Coding {
  readonly encoder: Encoder;
  readonly decodeTokens: (tokens: ReadonlyArray<string>) => string;
  readonly surround: Surround;
  /** Which code encodes. */
  readonly path: 'own' | 'reference';
  /** Whether the reference has no part in it, in decoding neither. */
  readonly ownAlone: boolean;
}

const ownEncoder = (
  { addedTokens, normalizer }: TokenizerSpec,
  { preTokenizer, model, surround }: CompiledParts,
): Encoder | undefined => {
  const normalize = compileNormalizer(normalizer);
  return model !== undefined && normalize !== undefined && preTokenizer !== undefined && surround !== undefined
    ? makeEncoder({ addedTokens, normalize, steps: preTokenizer.steps, model })
    : undefined;
};

/** `E_TOKENIZER_UNSUPPORTED` where neither covers it, or where the reference would have to run a risky expression. */
export const codingOf = (
  spec: TokenizerSpec,
  parts: CompiledParts,
  [risk]: ReadonlyArray<Risk>,
): Either<FatalError, Coding> => {
  const own = ownEncoder(spec, parts);
  const ownDecoder = compileDecoder(spec.decoder);
  const ownAlone = own !== undefined && ownDecoder !== undefined;
  if (!ownAlone && risk !== undefined) return left(tooRisky(risk));
  const reference = ownAlone ? undefined : referenceEncoder(spec);
  if (reference !== undefined && isLeft(reference)) return reference;
  const encoder = own ?? reference?.right;
  const { surround } = parts;
  if (encoder === undefined || surround === undefined) {
    return left(unsupported('the post-processor is of an unknown shape', 'post_processor'));
  }
  const decodeTokens = ownDecoder ?? reference?.right.decode;
  if (decodeTokens === undefined) return left(unsupported('the decoder is of an unknown type', 'decoder'));
  return right({ encoder, decodeTokens, surround, path: own === undefined ? 'reference' : 'own', ownAlone });
};
