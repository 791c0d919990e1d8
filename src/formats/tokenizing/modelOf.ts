/** The `model` part of tokenizer.json → vocabulary and token model. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import { type FatalError, fatal } from '../../errors.js';
import { byteLevelBpe } from './byteLevelBpe.js';
import { characterBpe } from './characterBpe.js';
import { type MergeTable, mergesOf } from './mergeTable.js';
import { isTokenId } from './tokenId.js';
import type { TokenModel } from './tokenModel.js';
import { unigram } from './unigram.js';
import { makeVocabulary, type Vocabulary, vocabularyOf, type VocabularyTables } from './vocabulary.js';
import { wordPiece } from './wordPiece.js';

/** What took long to make of a BPE model's `vocab` and `merges`: for another thread, which then needs neither. */
export interface ModelTables {
  readonly vocabulary: VocabularyTables;
  readonly merges: MergeTable;
}

export interface CompiledModel {
  readonly vocab: Vocabulary;
  /** Undefined when this model is not covered exactly. */
  readonly model: TokenModel | undefined;
  readonly tables?: ModelTables;
}

const invalid = (message: string, hint?: string): FatalError =>
  fatal('E_TOKENIZER_INVALID', message, { field: 'model', ...(hint === undefined ? {} : { hint }) });

const vocabOf = (value: unknown): Vocabulary | undefined => {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return undefined;
  const table = value as Readonly<Record<string, unknown>>;
  // Not entries, neither of the table nor of the list: that is as many arrays as tokens.
  const tokens = Object.keys(table);
  const ids = new Int32Array(tokens.length);
  for (let index = 0; index < tokens.length; index++) {
    const id = table[tokens[index] ?? ''];
    if (!isTokenId(id)) return undefined;
    ids[index] = id;
  }
  return makeVocabulary(tokens, (index) => ids[index] ?? 0);
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

const bpeModel = (
  fields: Readonly<Record<string, unknown>>,
  byteLevel: boolean,
  made: ModelTables | undefined,
): Either<FatalError, CompiledModel> => {
  const vocab = made === undefined ? vocabOf(fields['vocab']) : vocabularyOf(made.vocabulary);
  if (vocab === undefined) return left(invalid('the vocabulary of the BPE model is not a table of token ids'));
  const merges = made === undefined ? mergePairs(fields['merges']) : [];
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
  const config = {
    vocab,
    ...(unkToken === undefined ? {} : { unkToken }),
    fuseUnk: fields['fuse_unk'] === true,
    byteFallback: fields['byte_fallback'] === true,
    ignoreMerges: fields['ignore_merges'] === true,
  };
  const affix = optionalText(fields['continuing_subword_prefix']) ?? '';
  const suffix = optionalText(fields['end_of_word_suffix']) ?? '';
  if (affix !== '' || suffix !== '') return right({ vocab, model: undefined });
  const table = made?.merges ?? mergesOf(vocab, merges);
  if ('missing' in table) return left(invalid(`the merge "${table.missing}" uses a token that the vocabulary lacks`));
  return right({
    vocab,
    model: byteLevel ? byteLevelBpe(config, table) : characterBpe(config, table),
    tables: { vocabulary: vocab.tables, merges: table },
  });
};

const unigramModel = (fields: Readonly<Record<string, unknown>>): Either<FatalError, CompiledModel> => {
  const pieces: [string, number][] = [];
  if (!Array.isArray(fields['vocab'])) return left(invalid('the vocabulary of the Unigram model is not a list'));
  for (const entry of fields['vocab'] as ReadonlyArray<unknown>) {
    const [piece, score] = (Array.isArray(entry) ? entry : []) as ReadonlyArray<unknown>;
    if (typeof piece !== 'string' || typeof score !== 'number') {
      return left(invalid('the vocabulary of the Unigram model does not hold pairs of piece and score'));
    }
    pieces.push([piece, score]);
  }
  const unkId = fields['unk_id'];
  return right({
    vocab: makeVocabulary(
      pieces.map(([piece]) => piece),
      (id) => id,
    ),
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

/**
 * The compiled model, or E_TOKENIZER_INVALID / E_TOKENIZER_UNSUPPORTED. `made`: the tables of a model of these fields, which may
 * then lack `vocab` and `merges`.
 */
export const compileModel = (
  fields: Readonly<Record<string, unknown>>,
  byteLevel: boolean,
  made?: ModelTables,
): Either<FatalError, CompiledModel> => {
  const type = typeOf(fields);
  switch (type) {
    case 'BPE':
      return bpeModel(fields, byteLevel, made);
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
