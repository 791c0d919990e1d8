/** Files of a tokenizer → Tokenizer, a small interface over a fast core. */
import { type Either, isLeft, left, map, right } from 'fp-ts/lib/Either.js';
import { checked } from '../../checked.js';
import type { FatalError } from '../../errors.js';
import { madeFrom } from '../identity.js';
import type { ChatTemplate } from '../templates/chatTemplate.js';
import { chatTemplateOf } from './chatTemplateOf.js';
import { type Coding, codingOf, preTokenizerOf, risksOf, tooRisky } from './coding.js';
import { compileModel, type ModelTables } from './modelOf.js';
import { compilePostProcessor } from './postProcessor.js';
import type { TokenizerSpec } from './spec.js';
import { specOf, specOfFiles } from './specOf.js';
import { type TokenNames, tokenNames } from './tokenNames.js';
import { rememberRecipe, type TokenizerRecipe } from './tokenizerRecipe.js';
import { withSpecialTokens } from './withSpecialTokens.js';

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

interface Made {
  readonly tokenizer: Tokenizer;
  /** Undefined where they are not all that it was made of. */
  readonly tables: ModelTables | undefined;
}

/** What the files set beside the way of coding. */
const settingsOf = (
  { specialTokens, config }: TokenizerSpec,
  tokenToId: TokenNames['tokenToId'],
  chatTemplate: ChatTemplate | undefined,
): Partial<Tokenizer> => {
  const named = (name: string): { token: string | undefined; id: number | undefined } => {
    const token = specialTokens[name];
    return { token, id: token === undefined ? undefined : tokenToId(token) };
  };
  const [bos, eos, pad, unk] = [named('bos_token'), named('eos_token'), named('pad_token'), named('unk_token')];
  const limit = config['model_max_length'];
  const sideOf = (name: string): 'left' | 'right' | undefined => {
    const side = config[name];
    return side === 'left' || side === 'right' ? side : undefined;
  };
  return present<Partial<Tokenizer>>({
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
    chatTemplate,
  });
};

/** Unknown ids are passed over. */
const decodingBy =
  ({ idToToken, isSpecial }: TokenNames, decodeTokens: Coding['decodeTokens']): Tokenizer['decode'] =>
  (ids, { skipSpecialTokens = false } = {}) => {
    const tokens: string[] = [];
    for (const id of Array.from(ids)) {
      const token = idToToken(id);
      if (token !== undefined && !(skipSpecialTokens && isSpecial(id))) tokens.push(token);
    }
    return decodeTokens(tokens);
  };

/**
 * The tokenizer of a spec that these texts gave, or E_TOKENIZER_INVALID / E_TOKENIZER_UNSUPPORTED. Its functions are made elsewhere:
 * made here, they would hold on to `spec`, which is all that the files say.
 */
const tokenizerOfSpec = (
  spec: TokenizerSpec,
  { files, clock }: TokenizerSurroundings,
  texts: () => ReadonlyArray<string>,
  given?: ModelTables,
): Either<FatalError, Made> => {
  const risks = risksOf(spec);
  const hopeless = risks.find(({ refused }) => refused !== undefined);
  if (hopeless !== undefined) return left(tooRisky(hopeless));
  const preTokenizer = preTokenizerOf(spec);
  if (isLeft(preTokenizer)) return preTokenizer;
  const compiled = compileModel(spec.model, preTokenizer.right?.byteLevel === true, given);
  if (isLeft(compiled)) return compiled;
  const { vocab, model, tables } = compiled.right;
  const names = tokenNames(spec.addedTokens, vocab);
  const { tokenToId, idToToken } = names;
  const surround = compilePostProcessor(spec.postProcessor, tokenToId);
  const coding = codingOf(spec, { preTokenizer: preTokenizer.right, model, surround }, risks);
  if (isLeft(coding)) return coding;
  const template = chatTemplateOf(files, spec, clock);
  if (isLeft(template)) return template;
  const { encode, encodeWithOffsets } = withSpecialTokens(coding.right.encoder, coding.right.surround);
  const decode = decodingBy(names, coding.right.decodeTokens);
  madeFrom([encode, encodeWithOffsets, decode, tokenToId, idToToken], texts);
  const tokenizer: Tokenizer = {
    encode,
    encodeWithOffsets,
    decode,
    tokenToId,
    idToToken,
    vocabSize: names.count,
    ...settingsOf(spec, tokenToId, template.right),
    path: coding.right.path,
    files,
  };
  return right({ tokenizer, tables: coding.right.ownAlone ? tables : undefined });
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
