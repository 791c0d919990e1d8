/** The `model` part of tokenizer.json → vocabulary and token model. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import { type BpeConfig, byteLevelBpe, characterBpe, mergesOf } from './bpe.js';
import { isTokenId } from './tokenId.js';
import type { TokenModel } from './tokenModel.js';
import { unigram } from './unigram.js';
import { wordPiece } from './wordPiece.js';

export interface CompiledModel {
  readonly vocab: ReadonlyMap<string, number>;
  /** Undefined when this model is not covered exactly. */
  readonly model: TokenModel | undefined;
}

const invalid = (message: string, hint?: string): FatalError =>
  fatal('E_TOKENIZER_INVALID', message, { field: 'model', ...(hint === undefined ? {} : { hint }) });

const vocabOf = (value: unknown): ReadonlyMap<string, number> | undefined => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const vocab = new Map<string, number>();
  const table = value as Readonly<Record<string, unknown>>;
  // Not entries: that is as many arrays as tokens.
  for (const token of Object.keys(table)) {
    const id = table[token];
    if (!isTokenId(id)) return undefined;
    vocab.set(token, id);
  }
  return vocab;
};

/** Pairs as "a b" lines or as two-element lists. */
const mergePairs = (value: unknown): ReadonlyArray<readonly [string, string]> | undefined => {
  if (!Array.isArray(value)) return undefined;
  const pairs: [string, string][] = [];
  for (const entry of value as ReadonlyArray<unknown>) {
    if (typeof entry === 'string') {
      const blank = entry.indexOf(' ');
      if (blank === -1 || entry.includes(' ', blank + 1)) return undefined;
      pairs.push([entry.slice(0, blank), entry.slice(blank + 1)]);
      continue;
    }
    const parts: ReadonlyArray<unknown> | undefined = Array.isArray(entry) ? entry : undefined;
    if (parts?.length !== 2) return undefined;
    const [a, b] = parts;
    if (typeof a !== 'string' || typeof b !== 'string') return undefined;
    pairs.push([a, b]);
  }
  return pairs;
};

const optionalText = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined);

const bpeModel = (fields: Readonly<Record<string, unknown>>, byteLevel: boolean): Either<FatalError, CompiledModel> => {
  const vocab = vocabOf(fields['vocab']);
  if (vocab === undefined) return left(invalid('the vocabulary of the BPE model is not a table of token ids'));
  const merges = mergePairs(fields['merges']);
  if (merges === undefined) return left(invalid('the merges of the BPE model are not pairs of tokens'));
  if (typeof fields['dropout'] === 'number' && fields['dropout'] > 0) {
    return left(
      fatal('E_TOKENIZER_UNSUPPORTED', 'BPE dropout would give other ids at every call', {
        field: 'model.dropout',
        hint: 'set model.dropout to null in tokenizer.json',
      }),
    );
  }
  const unkToken = optionalText(fields['unk_token']);
  const config: BpeConfig = {
    vocab,
    merges,
    ...(unkToken === undefined ? {} : { unkToken }),
    fuseUnk: fields['fuse_unk'] === true,
    byteFallback: fields['byte_fallback'] === true,
    ignoreMerges: fields['ignore_merges'] === true,
  };
  const affix = optionalText(fields['continuing_subword_prefix']) ?? '';
  const suffix = optionalText(fields['end_of_word_suffix']) ?? '';
  if (affix !== '' || suffix !== '') return right({ vocab, model: undefined });
  const table = mergesOf(config);
  if ('missing' in table) return left(invalid(`the merge "${table.missing}" uses a token that the vocabulary lacks`));
  return right({
    vocab,
    model: byteLevel ? byteLevelBpe(config, table) : characterBpe(config, table),
  });
};

const unigramModel = (fields: Readonly<Record<string, unknown>>): Either<FatalError, CompiledModel> => {
  const pieces: [string, number][] = [];
  const vocab = new Map<string, number>();
  if (!Array.isArray(fields['vocab'])) return left(invalid('the vocabulary of the Unigram model is not a list'));
  for (const entry of fields['vocab'] as ReadonlyArray<unknown>) {
    const [piece, score] = (Array.isArray(entry) ? entry : []) as ReadonlyArray<unknown>;
    if (typeof piece !== 'string' || typeof score !== 'number') {
      return left(invalid('the vocabulary of the Unigram model does not hold pairs of piece and score'));
    }
    vocab.set(piece, pieces.length);
    pieces.push([piece, score]);
  }
  const unkId = fields['unk_id'];
  return right({
    vocab,
    model: unigram({
      vocab: pieces,
      ...(typeof unkId === 'number' ? { unkId } : {}),
      byteFallback: fields['byte_fallback'] === true,
    }),
  });
};

const wordPieceModel = (fields: Readonly<Record<string, unknown>>): Either<FatalError, CompiledModel> => {
  const vocab = vocabOf(fields['vocab']);
  if (vocab === undefined) return left(invalid('the vocabulary of the WordPiece model is not a table of token ids'));
  const longest = fields['max_input_chars_per_word'];
  return right({
    vocab,
    model: wordPiece({
      vocab,
      unkToken: optionalText(fields['unk_token']) ?? '[UNK]',
      prefix: optionalText(fields['continuing_subword_prefix']) ?? '##',
      longest: typeof longest === 'number' ? longest : 100,
    }),
  });
};

/** Old files name no type: then the fields tell. */
const typeOf = (fields: Readonly<Record<string, unknown>>): unknown => {
  if (fields['type'] !== undefined) return fields['type'];
  if (Array.isArray(fields['vocab'])) return 'Unigram';
  return 'merges' in fields ? 'BPE' : 'continuing_subword_prefix' in fields ? 'WordPiece' : undefined;
};

/** The compiled model, or E_TOKENIZER_INVALID / E_TOKENIZER_UNSUPPORTED. */
export const compileModel = (
  fields: Readonly<Record<string, unknown>>,
  byteLevel: boolean,
): Either<FatalError, CompiledModel> => {
  const type = typeOf(fields);
  switch (type) {
    case 'BPE':
      return bpeModel(fields, byteLevel);
    case 'Unigram':
      return unigramModel(fields);
    case 'WordPiece':
      return wordPieceModel(fields);
    default:
      return left(
        fatal('E_TOKENIZER_UNSUPPORTED', `tokenizer model of type ${JSON.stringify(type)}`, {
          field: 'model.type',
          expected: 'BPE, Unigram or WordPiece',
        }),
      );
  }
};
