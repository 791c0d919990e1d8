/** The flags of `SftConfig`: by topic in the help, other names and refused names understood, and `--config FILE`. */
import { Option, type Command } from 'commander';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { type FatalError, usage } from '../errors.js';
import { closed, optional, type Closed, type ClosedValue, type Field, type Fields } from '../formats/closed.js';
import { nonEmptyString, string } from '../formats/optionCodecs.js';
import { didYouMean } from '../nearest.js';
import { faultsTogether } from '../faults.js';
import { SftConfig, sftTopicNames, sftTopics } from '../train/options/config.js';
import { decodeSftConfig } from '../train/options/decodeConfig.js';
import type { SftTopic } from '../train/options/config.js';
import { sftAliases, understoodNames } from '../train/options/optionNames.js';
import type { ConfigFile } from './configFile.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven, type Given } from './options.js';

const ConfigFlag = closed('config', {
  config: optional(nonEmptyString, 'File of options in YAML or JSON; flags go before it.'),
}).fields;

const entries = Object.entries<Field>(SftConfig.fields);
const known = new Map(entries);

/** Hidden flags: names from elsewhere that mean one of ours, and names of arguments that change nothing or are refused. */
const understood: Fields = Object.fromEntries([
  ...Object.entries(sftAliases).flatMap(([alias, name]): Array<[string, Field]> => {
    const field = known.get(name);
    return field === undefined || known.has(alias) ? [] : [[alias, field]];
  }),
  ...Object.entries(understoodNames).flatMap(
    ([name, kind]): Array<[string, Field]> => (known.has(name) ? [] : [[name, { ...optional(string, ''), kind }]]),
  ),
]);

/** Names that TRL's script gives to what a command reads. */
export const ownAliases: Readonly<Record<string, string>> = { modelNameOrPath: 'model', datasetName: 'trainDataset' };

/** What `sft` reads and writes besides `SftConfig`, and others may not: a file that was written for it serves them as well. */
export const sftOwnNames = [
  'model',
  'adapter',
  'trainDataset',
  'evalDataset',
  'report',
  'dashboard',
  'dashboardPort',
] as const;

const ofSft: ReadonlySet<string> = new Set(sftOwnNames);

/** Whether a line of a file is for `sft` alone, of which the command knows nothing. */
const isOthers = (name: string, own: Fields): boolean => {
  const meant = (Object.hasOwn(ownAliases, name) ? ownAliases[name] : undefined) ?? name;
  return ofSft.has(meant) && !Object.hasOwn(own, meant);
};

/**
 * The file under the command's own names, where it has such an option, without what `sft` alone would read; one given by both names stays,
 * and is refused.
 */
const renamed = (file: ConfigFile, own: Fields): ConfigFile => {
  const nameOf = (name: string): string => {
    const meant = Object.hasOwn(ownAliases, name) ? ownAliases[name] : undefined;
    return meant !== undefined && Object.hasOwn(own, meant) && !file.lines.has(meant) ? meant : name;
  };
  const kept = <A>(entries: Iterable<readonly [string, A]>): ReadonlyArray<readonly [string, A]> =>
    [...entries].flatMap(([name, value]) => {
      return isOthers(name, own) ? [] : [[nameOf(name), value] as const];
    });
  return {
    ...file,
    options: Object.fromEntries(kept(Object.entries(file.options))),
    lines: new Map(kept(file.lines)),
    written: new Map(kept(file.written)),
  };
};

const capital = (text: string): string => text.charAt(0).toUpperCase() + text.slice(1);

/** Other names of each option. */
const others: Readonly<Record<string, ReadonlyArray<string>>> = Object.entries(sftAliases).reduce<
  Record<string, ReadonlyArray<string>>
>((all, [alias, name]) => ({ ...all, [name]: [...(all[name] ?? []), alias] }), {});

/**
 * Adds the command's own flags, then those of `SftConfig`, topic by topic. The help shows those of `topics` alone (default: all); the
 * others are taken all the same, so that one file of options serves every command.
 */
export const addSftFlags = (command: Command, own: Fields, topics: ReadonlyArray<SftTopic> = sftTopicNames): void => {
  const shared = { known: { ...SftConfig.fields, ...own }, others };
  addFlags(command, own, { ...shared, heading: 'Files:' });
  command.addHelpOption(new Option('-h, --help', 'Show this.').helpGroup('Files:'));
  addFlags(command, ConfigFlag, { heading: 'Files:' });
  for (const topic of sftTopicNames) {
    const fields = sftTopics[topic].flatMap((name): Array<[string, Field]> => {
      const field = known.get(name);
      return field === undefined ? [] : [[name, field]];
    });
    const heading = topics.includes(topic) ? `${capital(topic)}:` : undefined;
    addFlags(command, Object.fromEntries(fields), { ...shared, heading });
  }
  addFlags(command, understood);
  if (topics.length < sftTopicNames.length)
    command.addHelpText(
      'after',
      '\nThe other options of rxtune sft are taken, too, so that one file of options serves every command.',
    );
};

/** Names that only a file can bring: flags have been looked at by then. */
const unknownOptions = (options: Readonly<Record<string, unknown>>, own: Fields): ReadonlyArray<FatalError> => {
  const names = [...Object.keys(own), ...known.keys(), ...Object.keys(understood)];
  return Object.keys(options).flatMap((name) => {
    if (names.includes(name)) return [];
    const other = Object.hasOwn(ownAliases, name) ? ownAliases[name] : undefined;
    if (other !== undefined && Object.hasOwn(own, other))
      return usage('E_OPTIONS', `option "${other}" is given twice`, {
        field: name,
        hint: `"${name}" is another name for it`,
      });
    return usage('E_OPTIONS', `unknown option "${name}"`, {
      field: name,
      hint: didYouMean(name, names, 'the command with --help lists all options'),
    });
  });
};

/** The reader of YAML is loaded for those who give a file. */
const readLate =
  (path: string): TaskEither<FatalError, ConfigFile> =>
  async () =>
    (await import('./configFile.js')).readConfig(path)();

/** The command's own options and the `SftConfig` of a call. */
export const decodeSftFlags = <F extends Fields>(
  command: Command,
  own: Closed<F>,
): TaskEither<FatalError, { readonly own: ClosedValue<Closed<F>>; readonly config: SftConfig }> => {
  const flags = flagsGiven(command, { ...SftConfig.fields, ...understood, ...own.fields });
  const { config: path } = flagsGiven(command, ConfigFlag);
  const isOwn = ([name]: readonly [string, unknown]): boolean => Object.hasOwn(own.fields, name);
  return pipe(
    typeof path === 'string' ? readLate(path) : TE.right<FatalError, ConfigFile | undefined>(undefined),
    TE.map(
      (file): Given => ({
        flags,
        aliases: sftAliases,
        isOption: (name) => known.has(name) || Object.hasOwn(own.fields, name),
        ...(file === undefined ? {} : { file: renamed(file, own.fields) }),
      }),
    ),
    TE.flatMapEither((given) =>
      decodeGiven(given, (options) => {
        const unknown = unknownOptions(options, own.fields);
        const isUnknown = ([name]: readonly [string, unknown]): boolean =>
          unknown.some(({ details: { field } }) => field === name);
        const all = Object.entries(options).filter((entry) => !isUnknown(entry));
        const config = decodeSftConfig(Object.fromEntries(all.filter((entry) => !isOwn(entry))));
        const [first, ...others] = [...unknown, ...(E.isLeft(config) ? [config.left] : [])];
        if (first !== undefined) return E.left(faultsTogether(first, others));
        return pipe(
          E.Do,
          E.bind('config', () => config),
          E.bind('own', () => own.decode(Object.fromEntries(all.filter(isOwn)))),
        );
      }),
    ),
  );
};
