/** Options as callers write them, decoded: other names understood, defaults filled in, contradictions refused. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { faultsTogether } from '../../faults.js';
import { isJsonRecord } from '../../formats/json/jsonRecord.js';
import { SftConfig, sftTopics } from './config.js';
import { consistent } from './contradictions.js';
import { fromModelInitKwargs } from './modelInitKwargs.js';
import { ownNames } from './optionNames.js';

/** What a reader expects an option to switch on: evalSteps evaluation, any option of the adapter the adapter. */
const implied = (options: unknown): unknown => {
  if (!isJsonRecord(options)) return options;
  const given = (key: string): boolean => options[key] !== undefined && options[key] !== null;
  return {
    ...(given('evalSteps') ? { evalStrategy: 'steps' } : {}),
    ...(sftTopics.adapter.some(given) ? { usePeft: true } : {}),
    ...options,
  };
};

/** Loader options under their own names; what is given under both names must not differ. */
const withoutKwargs = (options: unknown): Either<FatalError, unknown> => {
  if (!isJsonRecord(options) || !isJsonRecord(options['modelInitKwargs'])) return E.right(options);
  return E.chain((loading: Readonly<Record<string, unknown>>) => {
    const twice = Object.keys(loading).find(
      (name) => Object.hasOwn(options, name) && JSON.stringify(options[name]) !== JSON.stringify(loading[name]),
    );
    return twice === undefined
      ? E.right<FatalError, unknown>({ ...options, ...loading })
      : E.left(
          usage('E_OPTIONS', `option "${twice}" is given twice`, { field: twice, hint: 'modelInitKwargs has it too' }),
        );
  })(fromModelInitKwargs(options['modelInitKwargs']));
};

const isOption = (name: string): boolean => Object.hasOwn(SftConfig.fields, name);

const decoded = (options: unknown): Either<FatalError, SftConfig> =>
  pipe(
    withoutKwargs(options),
    E.flatMap((given) => SftConfig.decode(implied(given))),
  );

/** What is refused by name, and what is wrong with the others, in one error. */
const underOwnNames = (given: Readonly<Record<string, unknown>>): Either<FatalError, SftConfig> => {
  const { options, faults } = ownNames(given, isOption);
  const config = decoded(options);
  const [first, ...others] = [...faults, ...(E.isLeft(config) ? [config.left] : [])];
  return first === undefined ? config : E.left(faultsTogether(first, others));
};

/**
 * Options as `sftTrainer` decodes them: other names that TRL, transformers and PEFT have for them understood, defaults filled in. A
 * usage error, with the field and what to do: `E_OPTIONS` for names and values that are wrong (all of them in one error) and for options
 * that contradict each other, and codes of their own for a few of these.
 */
export const decodeSftConfig = (options: unknown): Either<FatalError, SftConfig> =>
  pipe(isJsonRecord(options) ? underOwnNames(options) : decoded(options), E.flatMap(consistent));
