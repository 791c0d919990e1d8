/** A configuration file: options by name, in YAML (or JSON, which is YAML). */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { isMap, isScalar, LineCounter, parseDocument } from 'yaml';
import { type FatalError, usage } from '../errors.js';
import { readText } from '../formats/json/json.js';
import { camel } from './names.js';

export interface ConfigFile {
  readonly path: string;
  readonly options: Readonly<Record<string, unknown>>;
  /** Option name → its line in the file. */
  readonly lines: ReadonlyMap<string, number>;
  /** Option name → the name as the file has it. */
  readonly written: ReadonlyMap<string, string>;
}

/** A few lines of names for names would otherwise stand for more than any memory holds. */
const maxAliasCount = 100;

/** The options of a file's text. Refused: what is no YAML, what is no mapping, the same option twice (`E_CONFIG_FILE`). */
export const parseConfig = (path: string, text: string): Either<FatalError, ConfigFile> => {
  const counter = new LineCounter();
  const refused = (message: string, line?: number): Either<FatalError, never> =>
    E.left(usage('E_CONFIG_FILE', message, { file: path, ...(line === undefined ? {} : { line }) }));
  let document: ReturnType<typeof parseDocument>;
  let values: Readonly<Record<string, unknown>>;
  try {
    document = parseDocument(text, { lineCounter: counter });
    // Where the document is broken this may throw anything; its own errors say better what is wrong.
    values = document.errors.length > 0 ? {} : (document.toJS({ maxAliasCount }) as typeof values);
  } catch (cause) {
    // Nested deeper than the stack, or names for names for names.
    return refused(`not a file of options: ${cause instanceof Error ? cause.message : String(cause)}`);
  }
  const [broken] = document.errors;
  if (broken !== undefined) {
    return refused(broken.message.split('\n')[0]?.replace(/ at line.*$/, '') ?? 'not YAML', broken.linePos?.[0].line);
  }
  const { contents } = document;
  if (contents === null) return E.right({ path, options: {}, lines: new Map(), written: new Map() });
  if (!isMap(contents)) return refused('not a mapping of options to values', 1);
  const lines = new Map<string, number>();
  const names = new Map<string, string>();
  const options: Array<[string, unknown]> = [];
  for (const { key } of contents.items) {
    if (!isScalar(key)) return refused('an option name must be plain text');
    const written = String(key.value);
    const name = camel(written);
    const { line } = counter.linePos(key.range?.[0] ?? 0);
    if (lines.has(name)) return refused(`option "${written}" is given twice`, line);
    lines.set(name, line);
    names.set(name, written);
    options.push([name, values[written]]);
  }
  return E.right({ path, options: Object.fromEntries(options), lines, written: names });
};

/** Reads and parses; a file that cannot be read is a wrong call (`E_CONFIG_FILE`). */
export const readConfig = (path: string): TaskEither<FatalError, ConfigFile> =>
  pipe(
    readText(path),
    // What cannot be read is named by the message itself.
    TE.mapLeft((cause) =>
      usage('E_CONFIG_FILE', cause.message, {
        file: path,
        hint: 'give a file of options in YAML or JSON',
        cause,
      }),
    ),
    TE.flatMapEither((text) => parseConfig(path, text)),
  );
