/** Texts about options in the words of who gave them: a command line, or a file of options. */
import type { Command } from 'commander';
import { fatal, usage, warning, type DataError, type ErrorDetails, type FatalError, type Warning } from '../errors.js';
import type { ConfigFile } from './configFile.js';
import { kebab } from './names.js';

/** Whether a name is that of an option. */
export type IsOption = (name: string) => boolean;

/** The options of a command. */
export const optionsOf = (command: Command): IsOption => {
  const names = new Set(command.options.map((option) => option.attributeName()));
  return (name) => names.has(name);
};

/** A word of two or more words, which is no part of a path. */
const joined = /(?<![\w/\\.-])([a-z][a-z0-9]*[A-Z]\w*)\b(?![/\\]|\.\w)/g;
/** How the library writes a value that is to be given: `optim: sgd`. */
const withValue = /(?<![\w/\\.-])([a-z][a-z0-9]*[A-Z]\w*): (?=[\w"'[{])/g;
/** A word that is told to be an option. */
const told = /\b((?:un\w+ )?option |wrong value for )"?(\w+)"?/g;

/** A text with each option by its flag: `maxLength` is `--max-length`. */
export const textInFlags = (text: string, isOption: IsOption): string =>
  text
    .replace(told, (all, before: string, name: string) => (isOption(name) ? `${before}--${kebab(name)}` : all))
    .replace(withValue, (all, name: string) => (isOption(name) ? `--${kebab(name)} ` : all))
    .replace(joined, (name) => (isOption(name) ? `--${kebab(name)}` : name));

/** No column is called like an option of several words; one of a single word may be, where the call was right. */
const fieldInFlags = (field: string, isOption: IsOption, isCall: boolean): string => {
  const [name = field, ...inner] = field.split('.');
  return isOption(name) && (isCall || name !== name.toLowerCase()) ? [`--${kebab(name)}`, ...inner].join('.') : field;
};

/**
 * An error or warning with each option by its flag. A field is one only where the call was wrong: in a row it is a column. What was
 * read in a file of options keeps the names it has there.
 */
const detailsInFlags = (details: ErrorDetails, isOption: IsOption, isCall: boolean): ErrorDetails => ({
  ...details,
  ...(details.field === undefined ? {} : { field: fieldInFlags(details.field, isOption, isCall) }),
  ...(details.expected === undefined ? {} : { expected: textInFlags(details.expected, isOption) }),
  ...(details.hint === undefined ? {} : { hint: textInFlags(details.hint, isOption) }),
});

/** The name of the record of options, which nobody wrote. */
const ofRecord = /^\w+: (?=(?:unknown )?option |wrong value for )/;

/** A name as a file has it, or as it has others. */
const inFile =
  ({ written }: ConfigFile, isOption: IsOption) =>
  (name: string): string => {
    const given = written.get(name);
    if (given !== undefined || !isOption(name)) return given ?? name;
    const names = [...written.values()];
    if (names.some((one) => one.includes('_'))) return kebab(name).replaceAll('-', '_');
    return names.some((one) => one.includes('-')) ? kebab(name) : name;
  };

/** What is told of a further option that is wrong. */
const further = /(?<=\n {2}also )(?:unknown option |option |wrong value for )?"?(\w+)/g;

/** The error of a file of options, each told by the name that it has there, and by its line. */
export const errorInFile = (error: FatalError, file: ConfigFile, isOption: IsOption): FatalError => {
  const spelt = inFile(file, isOption);
  const retold = (text: string): string =>
    text
      .replace(
        told,
        (all, before: string, name: string) => `${before}${all.slice(before.length).replace(name, () => spelt(name))}`,
      )
      .replace(joined, (name) => spelt(name));
  const { code, cause, details } = error;
  const { field, expected, hint, ...rest } = details;
  const [named = '', ...inner] = field?.split('.') ?? [];
  const message = error.message.replace(ofRecord, '').replace(further, (all, name: string) => {
    const line = file.lines.get(name);
    return line === undefined ? all : `line ${line}: ${all}`;
  });
  return usage(code, retold(message), {
    ...rest,
    ...(field === undefined ? {} : { field: [spelt(named), ...inner].join('.') }),
    ...(expected === undefined ? {} : { expected: retold(expected) }),
    ...(hint === undefined ? {} : { hint: retold(hint) }),
    ...(cause === undefined ? {} : { cause }),
  });
};

/** The error of a call, told by its flags. */
export const errorInFlags = (error: FatalError, isOption: IsOption): FatalError => {
  const { code, kind, cause, details } = error;
  // Nor has a row anything to do with engines.
  const isCall = kind === 'usage' || code === 'E_ENGINE_UNAVAILABLE';
  const isOfFile = kind === 'usage' && details.line !== undefined;
  if (isOfFile) return error;
  return fatal(code, textInFlags(error.message.replace(ofRecord, ''), isOption), {
    ...detailsInFlags(details, isOption, isCall),
    kind,
    ...(cause === undefined ? {} : { cause }),
  });
};

/** What is wrong with a row, told by flags; its field is a column. */
export const rejectedInFlags = ({ message, ...error }: DataError, isOption: IsOption): DataError => ({
  ...error,
  message: textInFlags(message, isOption),
  ...detailsInFlags(error, isOption, false),
  ...(error.field === undefined ? {} : { field: error.field }),
});

/** A warning, told by flags. */
export const warningInFlags = ({ code, message, _tag, ...details }: Warning, isOption: IsOption): Warning =>
  warning(code, textInFlags(message, isOption), detailsInFlags(details, isOption, true));
