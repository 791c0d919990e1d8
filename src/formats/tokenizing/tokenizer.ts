/** Files of a tokenizer → Tokenizer, a small interface over a fast core. */
import { type Either, isLeft, left, map, right } from 'fp-ts/lib/Either.js';
import { checked } from '../../checked.js';
import { type FatalError, fatal } from '../../errors.js';
import { madeFrom } from '../identity.js';
import type { ChatTemplate } from '../templates/chatTemplate.js';
import { chatTemplateOf } from './chatTemplateOf.js';
import { makeEncoder } from './encoder.js';
import { compileModel, type ModelTables } from './modelOf.js';
import { compileNormalizer } from './normalizer.js';
import { type Risk, risksIn } from './pattern.js';
import { compilePostProcessor } from './postProcessor.js';
import { compilePreTokenizer } from './preTokenizer.js';
import { referenceEncoder } from './reference.js';
import type { TokenizerSpec } from './spec.js';
import { specOf, specOfFiles } from './specOf.js';
import { compileDecoder } from './tokenDecoder.js';
import { rememberRecipe, type TokenizerRecipe } from './tokenizerRecipe.js';
import type { Vocabulary } from './vocabulary.js';
import { wellFormed } from './wellFormed.js';

/** Texts to ids and back, as the model's `tokenizer.json` says, with its special tokens and chat template. */
export interface Tokenizer {
  /** Ids of a text, with what the post-processor adds when `addSpecialTokens`. Pure. */
  readonly encode: (text: string, options: { addSpecialTokens: boolean }) => Int32Array;
  /**
   * Ids plus the UTF-16 [start, end) of each in `text` (length 2n); tokens the post-processor added have start = end. A token
   * that holds part of a character covers the whole character; nothing is trimmed off (`trim_offsets` is not applied).
   */
  readonly encodeWithOffsets: (
    text: string,
    options: { addSpecialTokens: boolean },
  ) => { readonly ids: Int32Array; readonly offsets: Int32Array };
  /** Never cleans up spaces: what was encoded comes back. */
  readonly decode: (ids: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }) => string;
  /** The id of a token, spelt as the vocabulary has it; undefined for none of it. */
  readonly tokenToId: (token: string) => number | undefined;
  /** The token of an id, spelt as the vocabulary has it; undefined for none of it. */
  readonly idToToken: (id: number) => string | undefined;
  /** Base vocabulary and added tokens together. */
  readonly vocabSize: number;
  /** Beginning of sequence. */
  readonly bosTokenId?: number;
  /** End of sequence. */
  readonly eosTokenId?: number;
  /** Padding. */
  readonly padTokenId?: number;
  /** What stands for what the vocabulary lacks. */
  readonly unkTokenId?: number;
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly padToken?: string;
  readonly unkToken?: string;
  /** Absent when the files give none, or an absurdly large one (1e30). */
  readonly modelMaxLength?: number;
  /** As tokenizer_config.json has it; `batch` and `pad` have an option of their own. */
  readonly paddingSide?: 'left' | 'right';
  /** Which end of a text is cut where the tokenizer cuts, as under 0.7.10 parity. Absent: the right one. */
  readonly truncationSide?: 'left' | 'right';
  /** Absent where the files give none. */
  readonly chatTemplate?: ChatTemplate;
  /** Which code turns text into ids: our own, or @huggingface/tokenizers for what ours does not cover exactly. */
  readonly path: 'own' | 'reference';
  /** File name → text, as they were read, to be saved beside the model. */
  readonly files: Readonly<Record<string, string>>;
}

/** What a tokenizer knows beside its files' contents. */
export interface TokenizerSurroundings {
  /** File name → text, for `files` of the tokenizer. */
  readonly files: Readonly<Record<string, string>>;
  /** What `strftime_now` of the chat template reads. Default: the machine's clock. */
  readonly clock?: () => Date;
}

/** Absent fields are left out, as exactOptionalPropertyTypes wants it. */
const present = <A extends object>(fields: { readonly [K in keyof A]: A[K] | undefined }): A =>
  Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as A;

const absurdLength = 1e29;

const sizeOf = (vocab: Vocabulary, added: ReadonlyMap<string, number>): number => {
  let size = vocab.size;
  for (const token of added.keys()) if (vocab.get(token) === undefined) size++;
  return size;
};

const tooRisky = ({ field, expression, refused }: Risk): FatalError =>
  fatal('E_TOKENIZER_UNSUPPORTED', 'a regular expression could take longer than anybody waits on some texts', {
    file: 'tokenizer.json',
    field,
    actual: expression.length > 200 ? `${expression.slice(0, 200)}…` : expression,
    hint: `our own matcher, whose time grows with the text alone, does not run it: ${
      refused ?? 'another part of this tokenizer needs @huggingface/tokenizers, which has none'
    }; use the original tokenizer of the model`,
  });

interface Made {
  readonly tokenizer: Tokenizer;
  /** Undefined where they are not all that it was made of. */
  readonly tables: ModelTables | undefined;
}

/** The tokenizer of a spec that these texts gave, or E_TOKENIZER_INVALID / E_TOKENIZER_UNSUPPORTED. */
const tokenizerOfSpec = (
  spec: TokenizerSpec,
  { files, clock }: TokenizerSurroundings,
  texts: () => ReadonlyArray<string>,
  given?: ModelTables,
): Either<FatalError, Made> => {
  const risks = Object.entries({
    normalizer: spec.normalizer,
    pre_tokenizer: spec.preTokenizer,
    decoder: spec.decoder,
  }).flatMap(([field, part]) => risksIn(part, field));
  const hopeless = risks.find(({ refused }) => refused !== undefined);
  if (hopeless !== undefined) return left(tooRisky(hopeless));
  const preTokenizer = compilePreTokenizer(spec.preTokenizer);
  if (preTokenizer !== undefined && 'refused' in preTokenizer) {
    return left(
      fatal('E_TOKENIZER_UNSUPPORTED', `pre-tokenizer ${preTokenizer.refused} would give wrong ids`, {
        file: 'tokenizer.json',
        field: 'pre_tokenizer',
      }),
    );
  }
  const compiled = compileModel(spec.model, preTokenizer?.byteLevel === true, given);
  if (isLeft(compiled)) return compiled;
  const { vocab, model } = compiled.right;
  const addedByContent = new Map(spec.addedTokens.map((token) => [token.content, token.id]));
  const tokenToId = (token: string): number | undefined => addedByContent.get(token) ?? vocab.get(token);
  const addedById = new Map(spec.addedTokens.map((token) => [token.id, token.content]));
  const idToToken = (id: number): string | undefined => addedById.get(id) ?? vocab.tokenAt(id);
  const special = new Set(spec.addedTokens.filter((token) => token.special).map(({ id }) => id));

  const normalize = compileNormalizer(spec.normalizer);
  const surround = compilePostProcessor(spec.postProcessor, tokenToId);
  const covered =
    model !== undefined && normalize !== undefined && preTokenizer !== undefined && surround !== undefined
      ? makeEncoder({ addedTokens: spec.addedTokens, normalize, steps: preTokenizer.steps, model })
      : undefined;
  const ownDecoder = compileDecoder(spec.decoder);
  const [risk] = risks;
  const needsReference = covered === undefined || ownDecoder === undefined;
  if (needsReference && risk !== undefined) return left(tooRisky(risk));
  const reference = needsReference ? referenceEncoder(spec) : undefined;
  if (reference !== undefined && isLeft(reference)) return reference;
  const encoder = covered ?? reference?.right;
  if (encoder === undefined || surround === undefined) {
    return left(
      fatal('E_TOKENIZER_UNSUPPORTED', 'the post-processor is of an unknown shape', {
        file: 'tokenizer.json',
        field: 'post_processor',
      }),
    );
  }
  const decodeTokens = ownDecoder ?? reference?.right.decode;
  if (decodeTokens === undefined) {
    return left(
      fatal('E_TOKENIZER_UNSUPPORTED', 'the decoder is of an unknown type', {
        file: 'tokenizer.json',
        field: 'decoder',
      }),
    );
  }
  const prefix = Int32Array.from(surround.prefix);
  const suffix = Int32Array.from(surround.suffix);

  // Not `spec` itself: the functions below would hold on to all that the files say.
  const { specialTokens } = spec;
  const named = (name: string): { token: string | undefined; id: number | undefined } => {
    const token = specialTokens[name];
    return { token, id: token === undefined ? undefined : tokenToId(token) };
  };
  const [bos, eos, pad, unk] = [named('bos_token'), named('eos_token'), named('pad_token'), named('unk_token')];
  const limit = spec.config['model_max_length'];
  const sideOf = (name: string): 'left' | 'right' | undefined => {
    const side = spec.config[name];
    return side === 'left' || side === 'right' ? side : undefined;
  };
  const template = chatTemplateOf(files, spec, clock);
  if (isLeft(template)) return template;
  const tokenizer: Tokenizer = {
    encode: (text, { addSpecialTokens }) => {
      const ids = encoder.ids(wellFormed(text));
      if (!addSpecialTokens || prefix.length + suffix.length === 0) return ids;
      const all = new Int32Array(prefix.length + ids.length + suffix.length);
      all.set(prefix);
      all.set(ids, prefix.length);
      all.set(suffix, prefix.length + ids.length);
      return all;
    },
    encodeWithOffsets: (text, { addSpecialTokens }) => {
      const found = encoder.idsWithOffsets(wellFormed(text));
      if (!addSpecialTokens || prefix.length + suffix.length === 0) return found;
      const ids = new Int32Array(prefix.length + found.ids.length + suffix.length);
      ids.set(prefix);
      ids.set(found.ids, prefix.length);
      ids.set(suffix, prefix.length + found.ids.length);
      const offsets = new Int32Array(ids.length * 2);
      offsets.set(found.offsets, prefix.length * 2);
      offsets.fill(text.length, (prefix.length + found.ids.length) * 2);
      return { ids, offsets };
    },
    decode: (ids, { skipSpecialTokens = false } = {}) => {
      const tokens: string[] = [];
      for (const id of Array.from(ids)) {
        const token = idToToken(id);
        if (token !== undefined && !(skipSpecialTokens && special.has(id))) tokens.push(token);
      }
      return decodeTokens(tokens);
    },
    tokenToId,
    idToToken,
    vocabSize: sizeOf(vocab, addedByContent),
    ...present<Partial<Tokenizer>>({
      bosTokenId: bos.id,
      eosTokenId: eos.id,
      padTokenId: pad.id,
      unkTokenId: unk.id,
      bosToken: bos.token,
      eosToken: eos.token,
      padToken: pad.token,
      unkToken: unk.token,
      modelMaxLength: typeof limit === 'number' && limit < absurdLength ? limit : undefined,
      paddingSide: sideOf('padding_side'),
      truncationSide: sideOf('truncation_side'),
      chatTemplate: template.right,
    }),
    path: covered === undefined ? 'reference' : 'own',
    files,
  };
  const { encode, encodeWithOffsets, decode } = tokenizer;
  madeFrom([encode, encodeWithOffsets, decode, tokenToId, idToToken], texts);
  return right({ tokenizer, tables: needsReference ? undefined : compiled.right.tables });
};

/** The spec without what the tables say. */
const withoutTables = ({
  model: { vocab: _vocab, merges: _merges, ...model },
  ...spec
}: TokenizerSpec): TokenizerSpec => ({
  ...spec,
  // Old files name no type.
  model: { ...model, type: 'BPE' },
});

const templateFiles: ReadonlyArray<string> = ['chat_template.jinja', 'chat_template.json'];

/** What another thread makes the same tokenizer of. */
const recipeFor = (
  spec: TokenizerSpec,
  tables: Made['tables'],
  files: TokenizerSurroundings['files'],
): TokenizerRecipe =>
  tables === undefined
    ? { files }
    : {
        files: Object.fromEntries(Object.entries(files).filter(([name]) => templateFiles.includes(name))),
        made: { spec: withoutTables(spec), tables },
      };

/** The tokenizer of what was made of its files before, and of the files of its templates. */
export const tokenizerOfTables = (
  files: TokenizerSurroundings['files'],
  { spec, tables }: NonNullable<TokenizerRecipe['made']>,
): Either<FatalError, Tokenizer> =>
  map(({ tokenizer }: Made) => tokenizer)(tokenizerOfSpec(spec, { files }, () => [JSON.stringify(spec)], tables));

/** These files, and nothing else, made the tokenizer: another thread can make it again. */
const remembered = (
  made: Either<FatalError, Made>,
  spec: TokenizerSpec,
  files: TokenizerSurroundings['files'],
  { clock }: Pick<TokenizerSurroundings, 'clock'>,
): Either<FatalError, Tokenizer> =>
  map(({ tokenizer, tables }: Made) => {
    if (clock === undefined) rememberRecipe(tokenizer, recipeFor(spec, tables, files));
    return tokenizer;
  })(made);

/**
 * A tokenizer from parsed files: tokenizer.json and, when there is one, tokenizer_config.json. Errors: E_TOKENIZER_INVALID
 * for what is broken, E_TOKENIZER_UNSUPPORTED for what would give wrong ids.
 */
export const makeTokenizer = checked(
  'makeTokenizer',
  left,
  { 2: { files: 'optional', clock: 'optional' } },
  (
    tokenizerJson: unknown,
    tokenizerConfig: unknown = {},
    options: Partial<TokenizerSurroundings> = {},
  ): Either<FatalError, Tokenizer> => {
    const spec = specOf({ tokenizer: tokenizerJson, config: tokenizerConfig });
    if (isLeft(spec)) return spec;
    const files = options.files ?? {
      'tokenizer.json': `${JSON.stringify(tokenizerJson)}\n`,
      'tokenizer_config.json': `${JSON.stringify(tokenizerConfig, null, 2)}\n`,
    };
    const texts = (): ReadonlyArray<string> => [JSON.stringify([tokenizerJson, tokenizerConfig])];
    const made = tokenizerOfSpec(spec.right, { ...options, files }, texts);
    return options.files === undefined
      ? remembered(made, spec.right, files, options)
      : map(({ tokenizer }: Made) => tokenizer)(made);
  },
);

const byName = ([a]: readonly [string, string], [b]: readonly [string, string]): number => (a < b ? -1 : 1);

/** A tokenizer from the texts of its files, by name. */
export const tokenizerOfFiles = (
  files: Readonly<Record<string, string>>,
  options: { readonly clock?: () => Date } = {},
): Either<FatalError, Tokenizer> => {
  const spec = specOfFiles(files);
  if (isLeft(spec)) return spec;
  const texts = (): ReadonlyArray<string> => Object.entries(files).toSorted(byName).flat();
  return remembered(tokenizerOfSpec(spec.right, { ...options, files }, texts), spec.right, files, options);
};
