/**
 * Functions that look at the names in their records of options: where no compiler has looked at a call, a misspelt name would be passed
 * over in silence, and a missing one end far from here.
 */
import { usage } from './errors.js';
import type { FatalError } from './errors.js';
import { faultsTogether } from './faults.js';
import { didYouMean, isSlip } from './nearest.js';

/** `beside`: what else a record brings that is handed on whole, such as that of `load`; it means nothing here. */
type Presence = 'required' | 'optional' | 'beside';

/** The names in a record, and whether each must be given; those of a record within it, by its name. All of them, or it does not compile. */
export type OptionNames<O> = {
  readonly [K in keyof O]-?: undefined extends O[K] ? 'optional' | Names : 'required';
};

interface Names {
  readonly [name: string]: Presence | Names;
}

/** Names in a record that may hold others as well: such a one is refused where it is known but for a slip. */
export interface Among<N> {
  readonly among: N;
  /** Whether this record may. */
  readonly others: (given: object) => boolean;
  /** What helps where one is missing. */
  readonly missing?: string;
}

/** The names of each record among the parameters, by its position. */
type Records<P extends ReadonlyArray<unknown>> = {
  readonly [I in keyof P as I extends `${number}` ? I : never]?:
    | (OptionNames<NonNullable<P[I]>> & Names)
    | Among<OptionNames<NonNullable<P[I]>>>;
};

/** A record of which a stage reads a few names, and the function that made it others. */
export const among = <const N>(names: N): Among<N> => ({ among: names, others: () => true });

/** Options of a run fit as they are, which have many names more. */
export const amongRun = <const N>(names: N): Among<N> => ({
  among: names,
  others: (given) => Object.hasOwn(given, 'perDeviceTrainBatchSize'),
});

/** What `load` gives is handed on whole. */
export const besideLoaded = {
  model: 'beside',
  tokenizer: 'beside',
  warnings: 'beside',
  engine: 'beside',
  located: 'beside',
} as const;

const isAmong = (names: Names | Among<Names>): names is Among<Names> => typeof names['others'] === 'function';

const isRecord = (given: unknown): given is Readonly<Record<string, unknown>> =>
  typeof given === 'object' && given !== null && !Array.isArray(given);

const kindOf = (given: unknown): string =>
  given === null ? 'null' : Array.isArray(given) ? 'a list' : `a ${typeof given}`;

type Look = (caller: string, path: string, given: unknown) => ReadonlyArray<FatalError>;

const sound: ReadonlyArray<FatalError> = [];

/** What finds the faults in the names of a record. A record that has none is looked through once, and quickly. */
const lookFor = (names: Names | Among<Names>): Look => {
  const known = isAmong(names) ? names.among : names;
  const readable = Object.keys(known).filter((name) => known[name] !== 'beside');
  const required = readable.filter((name) => known[name] === 'required');
  const within = Object.entries(known).flatMap(([name, own]) =>
    typeof own === 'object' ? [[name, lookFor(own)] as const] : [],
  );
  const hint = isAmong(names) && names.missing !== undefined ? { hint: names.missing } : {};
  const isSound = (record: Readonly<Record<string, unknown>>): boolean => {
    for (const name of Object.keys(record)) if (!Object.hasOwn(known, name)) return false;
    return required.every((name) => record[name] !== undefined) && within.every(([name]) => record[name] === undefined);
  };
  return (caller, path, given = {}) => {
    const prefix = path === '' ? '' : `${path}.`;
    if (!isRecord(given))
      return [
        usage('E_OPTIONS', `${caller}: ${path === '' ? 'the options are' : `${path} is`} ${kindOf(given)}`, {
          ...(path === '' ? {} : { field: path }),
          expected: 'a record of options',
        }),
      ];
    if (isSound(given)) return sound;
    const isOpen = isAmong(names) && names.others(given);
    const isUnknown = (name: string): boolean => !Object.hasOwn(known, name) && (!isOpen || isSlip(name, readable));
    return [
      ...Object.keys(given)
        .filter(isUnknown)
        .map((name) =>
          usage('E_OPTIONS', `${caller}: unknown option "${prefix}${name}"`, {
            field: `${prefix}${name}`,
            hint: didYouMean(name, readable, `known options: ${readable.join(', ')}`),
          }),
        ),
      ...required
        .filter((name) => given[name] === undefined)
        .map((name) =>
          usage('E_OPTIONS', `${caller}: option "${prefix}${name}" is required`, {
            field: `${prefix}${name}`,
            ...hint,
          }),
        ),
      ...within.flatMap(([name, look]) => look(caller, `${prefix}${name}`, given[name])),
    ];
  };
};

/** What finds what is wrong with the names in a record, in one error. */
export const optionsFault = (caller: string, names: Names): ((given: unknown) => FatalError | undefined) => {
  const look = lookFor(names);
  return (given) => {
    const [first, ...others] = look(caller, '', given);
    return first === undefined ? undefined : faultsTogether(first, others);
  };
};

/**
 * The options as they are, where they hold no name that is not known and lack none that is needed; else throws `E_OPTIONS` with the name,
 * the nearest known one and the caller. For functions that answer with what can hold no error; `checked` is for those that can.
 */
export const known = <O extends object>(
  caller: string,
  names: (OptionNames<O> & Names) | Among<OptionNames<O>>,
  options: O,
): O => {
  const [first, ...others] = lookFor(names)(caller, '', options);
  if (first !== undefined) throw faultsTogether(first, others);
  return options;
};

/** Rows that cannot be read. */
export async function* unreadable(fault: FatalError): AsyncGenerator<never> {
  yield await Promise.reject(fault);
}

/**
 * The function, which refuses a call with a name in a record that it does not know, or without one that it needs: `E_OPTIONS` with the
 * name, the nearest known one and the caller. `refused` makes of it what the function answers with.
 */
export const checked = <F extends (...given: never) => unknown>(
  caller: string,
  refused: (fault: FatalError) => ReturnType<F>,
  records: Records<Parameters<F>>,
  f: F,
): F => {
  // Which positions have names a mapped type over a tuple cannot tell.
  const looks = Object.entries(records as Readonly<Record<string, Names | Among<Names>>>).map(
    ([position, names]) => [Number(position), lookFor(names)] as const,
  );
  return new Proxy(f, {
    apply: (target, self: unknown, given: ReadonlyArray<unknown>): unknown => {
      const [first, ...others] = looks.flatMap(([position, look]) => look(caller, '', given[position]));
      if (first !== undefined) return refused(faultsTogether(first, others));
      return Reflect.apply(target, self, given);
    },
  });
};
