/** Arguments that are records of settings, each of which is an option of its own here. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';

type Options = Readonly<Record<string, unknown>>;

/** What a key of such a record is here: an option, or undefined where it changes nothing. */
type Meaning = (value: unknown, all: Options) => readonly [string, unknown] | undefined;

const is =
  (name: string): Meaning =>
  (value) => [name, value];
const nothing: Meaning = () => undefined;

/** As TrainingArguments has it. */
const defaultRate = 5e-5;

/** A share of the peak as the rate at the end. What is no number stays, for the option to refuse. */
const shareOfPeak: Meaning = (value, all) => [
  'lrEnd',
  typeof value === 'number' ? value * Number(all['learningRate'] ?? defaultRate) : value,
];

/** transformers' and TRL's records, by their names here; the keys as Python has them. */
const records: Readonly<Record<string, Readonly<Record<string, Meaning>>>> = {
  lrSchedulerKwargs: {
    num_cycles: is('lrCycles'),
    power: is('lrPower'),
    lr_end: is('lrEnd'),
    min_lr: is('lrEnd'),
    min_lr_rate: shareOfPeak,
    min_lr_ratio: shareOfPeak,
    timescale: is('lrTimescale'),
    num_decay_steps: is('lrDecaySteps'),
    num_stable_steps: is('lrStableSteps'),
    warmup_type: is('lrWarmupType'),
    decay_type: is('lrDecayType'),
  },
  datasetKwargs: {
    add_special_tokens: is('addSpecialTokens'),
    append_concat_token: is('appendConcatToken'),
    // Rows of ids are taken as they are whatever it says.
    skip_prepare_dataset: nothing,
  },
};

export const kwargsNames: ReadonlyArray<string> = Object.keys(records);

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The options that a record of settings stands for, named as they are here; `E_OPTIONS` for a key that is not known. */
export const fromKwargs = (name: string, value: unknown, all: Options): Either<FatalError, Options> => {
  const known = records[name] ?? {};
  if (value === null) return E.right({});
  if (typeof value !== 'object' || Array.isArray(value)) {
    return E.left(
      usage('E_OPTIONS', `${name} is a record of settings`, {
        field: name,
        hint: `keys: ${Object.keys(known).join(', ')}`,
      }),
    );
  }
  const found: Record<string, unknown> = {};
  for (const [key, setting] of Object.entries(value as Options)) {
    const own = snake(key);
    const meaning = Object.hasOwn(known, own) ? known[own] : undefined;
    if (meaning === undefined) {
      return E.left(
        usage('E_OPTIONS', `unknown setting "${key}" in ${name}`, {
          field: `${name}.${key}`,
          hint: `known: ${Object.keys(known).join(', ')}`,
        }),
      );
    }
    const option = setting === null ? undefined : meaning(setting, all);
    if (option !== undefined) found[option[0]] = option[1];
  }
  return E.right(found);
};
