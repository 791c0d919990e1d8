/** What every architecture's config.json has in common, and the codecs its own fields are written with. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import { fatal, warning } from '../errors.js';
import type { FatalError, Warning } from '../errors.js';
import { fieldPath, fieldsOf } from '../formats/json/fieldPath.js';
import type { ActivationKind } from './kernels/activation.js';

/** Routed experts, as far as all models that have them say the same. */
export interface ExpertsConfig {
  readonly numExperts: number;
  /** Experts that each token goes to. */
  readonly perToken: number;
  /** The weights of a token's experts are divided by their sum. */
  readonly normalized: boolean;
  /**
   * What the load-balancing loss counts in the loss where no option says otherwise: `router_aux_loss_coef`, or 0 without
   * `output_router_logits`.
   */
  readonly auxLossCoef: number;
  /** False: transformers has no load-balancing loss of the model type (DeepSeek and what routes alike). Default: true. */
  readonly balanced?: boolean;
}

/** The whole that a text model is a part of. */
export interface Within {
  /** `model_type` of the whole. */
  readonly modelType: string;
  /** Path of the text model in the class that transformers opens: a module `model.…` is `<path>.…` there. */
  readonly path: string;
  /** Path of the head there. Default: `lm_head`. */
  readonly head?: string | undefined;
}

/** A decoded config.json. Each architecture adds its own fields. */
export interface ModelConfig {
  /** Name of the architecture in the registry that runs it; several model types may share one. */
  readonly architecture: string;
  /** `model_type` of config.json. */
  readonly modelType: string;
  /** Rows of the embedding. */
  readonly vocabSize: number;
  /** Width of the hidden states. */
  readonly hiddenSize: number;
  readonly numLayers: number;
  readonly numHeads: number;
  /** Heads of keys and values. */
  readonly numKvHeads: number;
  /** Width of a head. */
  readonly headDim: number;
  /** Tokens that a text may have. */
  readonly maxPositions: number;
  /** The head multiplies by the embedding table. */
  readonly tieWordEmbeddings: boolean;
  /** Dropout on attention weights that config.json asks for: left out here, which is told (`W_ATTENTION_DROPOUT`). */
  readonly attentionDropout?: number;
  /** Width of the token embedding, where it is not hiddenSize (OPT-350m). */
  readonly embeddingSize?: number;
  /** How many hidden states, each as wide, go from layer to layer (Gemma 3n). Default: 1. */
  readonly streams?: number;
  /** What logits are capped at: x becomes logitSoftcap · tanh(x / logitSoftcap). Absent: they are not. */
  readonly logitSoftcap?: number | undefined;
  /** Present where layers route tokens to experts. */
  readonly experts?: ExpertsConfig;
  /** Present where the model is the text part of a checkpoint that holds more, as one with images. */
  readonly within?: Within;
  readonly bosTokenId?: number;
  /** Ids that end a sequence; empty for none. */
  readonly eosTokenIds: ReadonlyArray<number>;
  readonly padTokenId?: number;
  /** config.json as it came, to be written beside trained weights. */
  readonly raw: Readonly<Record<string, unknown>>;
}

/** A config.json as it was parsed. */
export type RawConfig = Readonly<Record<string, unknown>>;

const numberThat = (name: string, holds: (value: number) => boolean): t.Type<number> =>
  new t.Type(
    name,
    (u): u is number => typeof u === 'number' && holds(u),
    (u, context) => (typeof u === 'number' && holds(u) ? t.success(u) : t.failure(u, context)),
    t.identity,
  );

/** Codec of a whole number > 0. */
export const positiveInteger = numberThat('a whole number > 0', (n) => Number.isInteger(n) && n > 0);
/** No model has as many; a file that says more would be believed by whoever makes lists of layers. */
const mostLayers = 4096;
export const layerCount = numberThat(
  `a whole number from 1 to ${mostLayers}`,
  (n) => Number.isInteger(n) && n > 0 && n <= mostLayers,
);
export const nonNegativeInteger = numberThat('a whole number ≥ 0', (n) => Number.isInteger(n) && n >= 0);
/** Codec of a number > 0. */
export const positive = numberThat('a number > 0', (n) => Number.isFinite(n) && n > 0);
/** Codec of a number ≥ 0. */
export const nonNegative = numberThat('a number ≥ 0', (n) => Number.isFinite(n) && n >= 0);
/** Codec of a share: a number ≥ 0 and < 1. */
export const rate = numberThat('a number ≥ 0 and < 1', (n) => n >= 0 && n < 1);
export const boolean = t.boolean;

/** Codec of a field that may be missing or null. */
export const optional = <A>(codec: t.Type<A, unknown>): t.Type<A | null | undefined, unknown> =>
  t.union([codec, t.null, t.undefined], codec.name);

const activations: Readonly<Record<string, ActivationKind>> = {
  gelu: 'gelu',
  gelu_new: 'gelu_new',
  gelu_fast: 'gelu_new',
  gelu_pytorch_tanh: 'gelu_new',
  quick_gelu: 'quick_gelu',
  relu: 'relu',
  relu2: 'relu2',
  silu: 'silu',
  swish: 'silu',
};

/** Codec of an activation's name as transformers has it (`silu`, `gelu_new`, …). */
export const activation: t.Type<ActivationKind, string> = new t.Type(
  `one of ${Object.keys(activations).join(', ')}`,
  (u): u is ActivationKind => typeof u === 'string' && Object.values(activations).some((kind) => kind === u),
  (u, context) => {
    const kind = typeof u === 'string' && Object.hasOwn(activations, u) ? activations[u] : undefined;
    return kind === undefined ? t.failure(u, context) : t.success(kind);
  },
  t.identity,
);

/** The field that was wrong, the innermost one found. */
const wrongField = (
  errors: t.Errors,
): { readonly field: string; readonly expected: string; readonly actual: unknown } => {
  const fields = errors
    .map(({ context }) => fieldsOf(context))
    .reduce((deepest, path) => (path.length > deepest.length ? path : deepest), []);
  const last = fields[fields.length - 1];
  return {
    field: fieldPath(fields),
    expected: last?.type.name ?? '',
    actual: last?.actual,
  };
};

/** Fields of config.json by their codecs, or `E_MODEL_CONFIG` with the field, what it should be and what it is. */
export const decodeFields =
  <A>(codec: t.Decoder<unknown, A>) =>
  (raw: unknown): E.Either<FatalError, A> =>
    pipe(
      codec.decode(raw),
      E.mapLeft((errors) => {
        const { field, expected, actual } = wrongField(errors);
        const missing = actual === undefined;
        return fatal('E_MODEL_CONFIG', `config.json ${missing ? 'lacks' : 'has a wrong'} "${field}"`, {
          field,
          expected,
          actual: missing ? 'nothing' : JSON.stringify(actual),
        });
      }),
    );

/** Codecs of the token ids that every config.json may carry. */
export const tokenIds = {
  bos_token_id: optional(nonNegativeInteger),
  eos_token_id: optional(t.union([nonNegativeInteger, t.array(nonNegativeInteger)])),
  // -1 stands for "none" in some files.
  pad_token_id: optional(numberThat('a whole number', Number.isInteger)),
} as const;

/** Token ids of a config.json, as `tokenIds` decodes them. */
export interface TokenIds {
  readonly bos_token_id?: number | null | undefined;
  readonly eos_token_id?: number | ReadonlyArray<number> | null | undefined;
  readonly pad_token_id?: number | null | undefined;
}

/** `tokenIds` as fields of `ModelConfig`. */
export const namedTokenIds = (fields: TokenIds): Pick<ModelConfig, 'bosTokenId' | 'eosTokenIds' | 'padTokenId'> => {
  const { bos_token_id: bos, eos_token_id: eos, pad_token_id: pad } = fields;
  return {
    ...(typeof bos === 'number' ? { bosTokenId: bos } : {}),
    eosTokenIds: typeof eos === 'number' ? [eos] : (eos ?? []),
    ...(typeof pad === 'number' && pad >= 0 ? { padTokenId: pad } : {}),
  };
};

/** Codecs of the fields of config.json that most model types have under these names. */
export const decoderFields = {
  vocab_size: positiveInteger,
  hidden_size: positiveInteger,
  num_hidden_layers: layerCount,
  num_attention_heads: positiveInteger,
  max_position_embeddings: optional(positiveInteger),
  attention_dropout: optional(rate),
  tie_word_embeddings: optional(boolean),
  ...tokenIds,
} as const;

/** Fields of a config.json, as `decoderFields` decodes them. */
export interface DecoderFields extends TokenIds {
  readonly vocab_size: number;
  readonly hidden_size: number;
  readonly num_hidden_layers: number;
  readonly attention_dropout?: number | null | undefined;
  readonly tie_word_embeddings?: boolean | null | undefined;
}

/** `decoderFields` as fields of `ModelConfig`; `tied` is what a file that says nothing means by `tie_word_embeddings`. */
export const decoderConfig = (fields: DecoderFields, tied: boolean) => ({
  vocabSize: fields.vocab_size,
  hiddenSize: fields.hidden_size,
  numLayers: fields.num_hidden_layers,
  attentionDropout: fields.attention_dropout ?? 0,
  tieWordEmbeddings: fields.tie_word_embeddings ?? tied,
  ...namedTokenIds(fields),
});

/** `E_MODEL_CONFIG`: fields that are each right and do not fit together, or that this library cannot run. */
export const unfit = (field: string, expected: string, actual: unknown): FatalError =>
  fatal('E_MODEL_CONFIG', `config.json asks for a model that cannot be built: "${field}"`, {
    field,
    expected,
    actual: JSON.stringify(actual),
  });

/** Refuses the first field that is there and asks for something else than what it is given here; null asks for nothing. */
export const onlyAs =
  (expected: Readonly<Record<string, boolean | number | string | null>>) =>
  (raw: RawConfig): E.Either<FatalError, RawConfig> => {
    const wrong = Object.entries(expected).find(
      ([field, value]) => raw[field] !== undefined && raw[field] !== null && raw[field] !== value,
    );
    return wrong === undefined ? E.right(raw) : E.left(unfit(wrong[0], JSON.stringify(wrong[1]), raw[wrong[0]]));
  };

/** What most files call what heads are made of. */
const headFields = {
  hiddenSize: 'hidden_size',
  numHeads: 'num_attention_heads',
  numKvHeads: 'num_key_value_heads',
} as const;

/** Width of a head and number of key heads. `E_MODEL_CONFIG` where they do not divide. */
export const headsOf = (sizes: {
  readonly hiddenSize: number;
  readonly numHeads: number;
  /** Default: each head has its own. */
  readonly numKvHeads?: number | null | undefined;
  /** Default: hiddenSize / numHeads. */
  readonly headDim?: number | null | undefined;
  /** Fields that the file calls otherwise. */
  readonly names?: Readonly<Partial<Record<keyof typeof headFields, string>>>;
}): E.Either<FatalError, { readonly headDim: number; readonly numHeads: number; readonly numKvHeads: number }> => {
  const { hiddenSize, numHeads } = sizes;
  const numKvHeads = sizes.numKvHeads ?? numHeads;
  const names = { ...headFields, ...sizes.names };
  if (typeof sizes.headDim !== 'number' && hiddenSize % numHeads !== 0)
    return E.left(unfit(names.numHeads, `a divisor of ${names.hiddenSize} ${hiddenSize}`, numHeads));
  if (numHeads % numKvHeads !== 0)
    return E.left(unfit(names.numKvHeads, `a divisor of ${names.numHeads} ${numHeads}`, numKvHeads));
  return E.right({ headDim: sizes.headDim ?? hiddenSize / numHeads, numHeads, numKvHeads });
};

/** What of a config.json training does not do, and the reader should know; `disableDropout` asks for none of that anyway. */
export const configWarnings = (
  { attentionDropout = 0 }: ModelConfig,
  { disableDropout }: { readonly disableDropout: boolean },
): ReadonlyArray<Warning> =>
  attentionDropout === 0 || disableDropout
    ? []
    : [
        warning('W_ATTENTION_DROPOUT', 'dropout on attention weights is left out: attention runs fused, without them', {
          expected: '0',
          actual: `${attentionDropout} in config.json`,
          hint: 'disableDropout trains without any dropout, and without this warning',
        }),
      ];
