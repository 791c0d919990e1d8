/** Options of a call: flags over the configuration file over defaults, and errors in the words of the caller. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { type FatalError, usage } from '../errors.js';
import type { ConfigFile } from './configFile.js';
import { errorInFile, type IsOption } from './inFlags.js';
import { kebab } from './names.js';

export interface Given {
  readonly flags: Readonly<Record<string, unknown>>;
  readonly file?: ConfigFile;
  /** Other names of options. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Names that a file may spell otherwise, besides those it has. Default: none. */
  readonly isOption?: IsOption;
}

/** What was given, a flag before the file. */
const merged = ({ flags, file }: Given): Readonly<Record<string, unknown>> => ({ ...file?.options, ...flags });

/** Names an option as the caller wrote it: as a flag, or as a line of the configuration file. */
const asWritten = ({ flags, file, aliases = {}, isOption = () => false }: Given, error: FatalError): FatalError => {
  const { field, ...details } = error.details;
  if (field === undefined || error.kind !== 'usage') return error;
  const [named = field, ...inner] = field.split('.');
  const given = (name: string): boolean => Object.hasOwn(flags, name) || file?.lines.has(name) === true;
  const option = given(named)
    ? named
    : (Object.keys(aliases).find((alias) => aliases[alias] === named && given(alias)) ?? named);
  const line = file?.lines.get(option);
  // By the name that was given, not by the one it stands for.
  const message = error.message.replace(`wrong value for ${named}`, () => `wrong value for ${option}`);
  if (file === undefined || line === undefined || Object.hasOwn(flags, option))
    return usage(error.code, message, { ...details, field: [`--${kebab(option)}`, ...inner].join('.') });
  const inFile = { ...details, field: [option, ...inner].join('.'), file: file.path, line };
  return errorInFile(usage(error.code, message, inFile), file, isOption);
};

/** `decode` of what was given. */
export const decodeGiven = <A>(
  given: Given,
  decode: (options: Readonly<Record<string, unknown>>) => Either<FatalError, A>,
): Either<FatalError, A> => E.mapLeft((error: FatalError) => asWritten(given, error))(decode(merged(given)));
