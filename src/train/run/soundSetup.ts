/** What can be wrong with the first argument of `sftTrainer` where no compiler has looked at it. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import type { ErrorDetails, FatalError } from '../../errors.js';
import { describe, kindOf } from '../../formats/describe.js';
import { isJsonRecord } from '../../formats/json/jsonRecord.js';
import { nearest } from '../../nearest.js';
import type { LoadedParts } from '../loading/load.js';
import { SftConfig } from '../options/config.js';
import { sftAliases } from '../options/optionNames.js';
import type { SftSetup } from './run.js';

/** What each name of the setup stands for; all of them, or it would not compile. */
const kinds: Readonly<Record<keyof SftSetup, 'function' | 'list' | 'other'>> = {
  model: 'other',
  modelInit: 'function',
  modelName: 'other',
  datasetNames: 'list',
  tokenizer: 'other',
  trainDataset: 'other',
  evalDataset: 'other',
  peftConfig: 'other',
  formattingFunc: 'function',
  optimizer: 'function',
  computeLoss: 'function',
  rejects: 'other',
  hub: 'other',
  computeMetrics: 'function',
  preprocessLogitsForMetrics: 'function',
  callbacks: 'list',
};

/** What `load` gives beside model and tokenizer comes along where it is spread, and means nothing here. */
const ofLoaded: Readonly<Record<Exclude<keyof LoadedParts, keyof SftSetup>, true>> = {
  warnings: true,
  engine: true,
  located: true,
};

const wrong = (
  field: string,
  given: unknown,
  wanted: string,
  { expected = wanted, hint }: ErrorDetails = {},
): FatalError =>
  usage('E_OPTIONS', `${field} is ${kindOf(given)}, and ${wanted} is wanted`, {
    field,
    expected,
    actual: describe(given),
    ...(hint === undefined ? {} : { hint }),
  });

/** A name that nobody reads is refused where it is nearly one that is read, or that of an option; others may come along. */
const unread = (name: string): FatalError | undefined => {
  if (Object.hasOwn(kinds, name) || Object.hasOwn(ofLoaded, name)) return undefined;
  if (Object.hasOwn(SftConfig.fields, name) || Object.hasOwn(sftAliases, name))
    return usage('E_OPTIONS', `${name} is an option, and does not stand beside the model`, {
      field: name,
      hint: `the options are the second argument: sftTrainer({ model, … }, { ${name}: … })`,
    });
  const meant = nearest(name, Object.keys(kinds));
  return meant === undefined
    ? undefined
    : usage('E_OPTIONS', `nothing is called "${name}" here`, { field: name, hint: `did you mean "${meant}"?` });
};

const misplaced = (name: string): FatalError | undefined =>
  Object.hasOwn(kinds, name)
    ? usage('E_OPTIONS', `${name} is no option, and stands beside the model`, {
        field: name,
        hint: `it belongs into the first argument: sftTrainer({ model, ${name}: …, … }, options)`,
      })
    : undefined;

const wrongModel = (model: unknown): FatalError | undefined => {
  if (model === undefined || typeof model === 'string') return undefined;
  if (isJsonRecord(model) && isJsonRecord(model['config']) && isJsonRecord(model['weights'])) return undefined;
  return wrong('model', model, 'a model', {
    expected: 'a model, or the directory of one',
    hint: 'const { model, tokenizer } = await orThrow(load(directory))',
  });
};

const wrongKind = ([name, kind]: readonly [string, string], given: unknown): FatalError | undefined => {
  if (given === undefined || kind === 'other') return undefined;
  if (kind === 'function') return typeof given === 'function' ? undefined : wrong(name, given, 'a function');
  return Array.isArray(given) ? undefined : wrong(name, given, 'a list');
};

/**
 * Refuses a setup of JavaScript's that would fail far from here, or be passed over in silence: names nearly those that are read,
 * options that stand beside the model and what stands among the options, what is no model, list or function where one is due. `E_OPTIONS`.
 */
export const soundSetup = (setup: SftSetup, options: object = {}): Either<FatalError, SftSetup> => {
  const given: Readonly<Record<string, unknown>> = { ...setup };
  const faults = [
    ...Object.keys(given).map(unread),
    ...Object.keys({ ...options }).map(misplaced),
    wrongModel(given['model']),
    ...Object.entries(kinds).map((entry) => wrongKind(entry, given[entry[0]])),
  ];
  const fault = faults.find((one) => one !== undefined);
  return fault === undefined ? E.right(setup) : E.left(fault);
};
