/** transformers' loader options, as TRL's `model_init_kwargs` passes them on, as options of this library. */
import * as E from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { isJsonRecord } from '../../formats/json/jsonRecord.js';
import { didYouMean } from '../../nearest.js';
import { QuantizationConfig } from '../../model/quantize/config.js';
import { ignoredArguments, loaderArguments, quantisationArguments } from './loaderArguments.js';
import { attentionNamed, attentions, precisionNamed } from './loaderNames.js';

type Options = Readonly<Record<string, unknown>>;

/** torch_dtype and torchDtype alike. */
const camel = (name: string): string => name.replace(/(?<=.)_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

const refusal = (field: string, message: string, hint: string): E.Either<FatalError, never> =>
  E.left(usage('E_OPTIONS', message, { field: `modelInitKwargs.${field}`, hint }));

const quantisation = Object.keys(QuantizationConfig.fields);
const known = [
  ...['torchDtype', 'dtype', 'attnImplementation', 'useFlashAttention2', 'ropeScaling', 'quantizationConfig'],
  ...[...ignoredArguments, ...Object.keys(loaderArguments), ...quantisation],
];

/** `torch.bfloat16`, as Python prints a dtype. */
const withoutTorch = (value: unknown): unknown => (typeof value === 'string' ? value.replace(/^torch\./, '') : value);

const oneOption = (name: string, value: unknown): E.Either<FatalError, Options> => {
  switch (name) {
    case 'torchDtype':
    case 'dtype': {
      const text = String(value).replace(/^torch\./, '');
      if (value === null || text === 'auto') return E.right({});
      const precision = precisionNamed(text);
      return precision === undefined
        ? refusal(name, `weights are not held as ${text}`, 'float32 or bfloat16')
        : E.right({ precision });
    }
    case 'attnImplementation': {
      const attnImplementation = attentionNamed(String(value));
      return attnImplementation === undefined
        ? refusal(name, `there is no attention called ${String(value)}`, Object.keys(attentions).join(', '))
        : E.right({ attnImplementation });
    }
    case 'useFlashAttention2':
      return E.right(value === true ? { attnImplementation: 'fused' } : {});
    case 'ropeScaling':
      return E.right(value === null ? {} : { ropeScaling: value });
    case 'quantizationConfig':
      if (value === null) return E.right({});
      return isJsonRecord(value)
        ? all(value, inQuantization)
        : refusal(name, 'quantisation is described by an object', '{ "load_in_4bit": true }');
    default: {
      if (ignoredArguments.includes(name)) return E.right({});
      if (quantisation.includes(name)) return E.right(value === null ? {} : { [name]: withoutTorch(value) });
      const argument = Object.hasOwn(loaderArguments, name) ? loaderArguments[name] : undefined;
      if (argument !== undefined)
        return value === null || argument.accepts(value) ? E.right({}) : refusal(name, argument.message, argument.hint);
      return refusal(name, `unknown loader option "${name}"`, didYouMean(name, known, known.join(', ')));
    }
  }
};

/** What a `quantization_config` holds beside the options: what BitsAndBytesConfig writes of itself. */
const inQuantization = (name: string, value: unknown): E.Either<FatalError, Options> => {
  // `_load_in_4bit` says again what `load_in_4bit` says.
  if (name.startsWith('_')) return E.right({});
  const argument = Object.hasOwn(quantisationArguments, name) ? quantisationArguments[name] : undefined;
  if (argument === undefined) return oneOption(name, value);
  return value === null || argument.accepts(value) ? E.right({}) : refusal(name, argument.message, argument.hint);
};

const all = (
  kwargs: Options,
  one: (name: string, value: unknown) => E.Either<FatalError, Options>,
): E.Either<FatalError, Options> =>
  Object.entries(kwargs).reduce<E.Either<FatalError, Options>>(
    (sofar, [key, value]) =>
      E.chain((options: Options) => E.map((more: Options) => ({ ...options, ...more }))(one(camel(key), value)))(sofar),
    E.right({}),
  );

/**
 * Loader options as options of a run: `torch_dtype` is `precision`, `attn_implementation` and `rope_scaling` have their own names,
 * quantisation its own options, alone or in a `quantization_config`. Arguments of `from_pretrained` that change nothing here are
 * accepted; `E_OPTIONS`, with what to do, for one that cannot be had or is not known.
 */
export const fromModelInitKwargs = (kwargs: Options): E.Either<FatalError, Options> => all(kwargs, oneOption);
