/** What a command is, and how its outcome becomes an exit code. */
import { Command, type CommanderError } from 'commander';
import type { Either } from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal, type FatalError, isFatal, render, usage } from '../errors.js';
import { nearest } from '../nearest.js';
import { errorInFlags, optionsOf } from './inFlags.js';

/** Where a command reads and writes. Results go to `out`, everything told to a person to `err`. */
export interface Terminal {
  readonly out: NodeJS.WritableStream & { readonly isTTY?: boolean };
  readonly err: NodeJS.WritableStream & { readonly isTTY?: boolean };
}

/** A command of the list: what its help line says, and where the rest of it is. */
export interface NamedCommand {
  readonly name: string;
  readonly summary: string;
  /** Called when somebody calls the command or asks for its help: the library takes a second to load. */
  readonly load: () => Promise<CommandLine>;
}

export interface CommandLine {
  /** Adds the command's flags. */
  readonly flags: (command: Command) => void;
  /** Runs it with the flags that `command` holds. */
  readonly run: (command: Command, terminal: Terminal) => TaskEither<FatalError, void>;
}

/** 0 done, 1 the run failed, 2 the call was wrong. */
export type ExitCode = 0 | 1 | 2;

const quoted = (message: string): string => /'(-{0,2}[^'\s=]*)/.exec(message)?.[1] ?? '';

const isBegunBy =
  (beginning: string) =>
  (name: string): boolean =>
    beginning.length >= 3 && name.startsWith(beginning);

/** Commander's complaint as a typed error with the nearest name. */
const wrongCall = (complaint: CommanderError, command: Command): FatalError => {
  const name = quoted(complaint.message);
  const help = `rxtune ${command.parent === null ? '' : `${command.name()} `}--help`;
  const meant = (known: ReadonlyArray<string>): string => {
    const bare = name.replace(/^-+/, '');
    // The beginning of a name, of a word at least, says more than how many letters differ.
    const close =
      known.find((one) => one.startsWith(`${bare}-`)) ?? known.find(isBegunBy(bare)) ?? nearest(bare, known);
    return close === undefined ? help : `did you mean ${name.startsWith('-') ? `--${close}` : close}?`;
  };
  switch (complaint.code) {
    case 'commander.unknownOption':
      return usage('E_USAGE', `unknown option ${name}`, {
        hint: meant(
          command.options.flatMap(({ long, hidden }) => (typeof long === 'string' && !hidden ? [long.slice(2)] : [])),
        ),
      });
    case 'commander.unknownCommand':
      return usage('E_USAGE', `unknown command ${name}`, {
        expected: command.commands.map((one) => one.name()).join(', '),
        hint: meant(command.commands.map((one) => one.name())),
      });
    case 'commander.optionMissingArgument':
      return usage('E_USAGE', `option ${name} needs a value`, { hint: help });
    case 'commander.excessArguments':
      return usage('E_USAGE', `too many arguments: ${JSON.stringify(command.args[0] ?? '')} belongs to no option`, {
        expected: 'options written --name value, several values with commas between them',
        hint: help,
      });
    default:
      return usage('E_USAGE', complaint.message.replace(/^error: /, ''), { hint: help });
  }
};

const bug = (cause: unknown): FatalError =>
  fatal('E_BUG', cause instanceof Error ? cause.message : String(cause), {
    cause,
    hint: 'this is a fault of rxtune; RXTUNE_DEBUG=1 shows where',
  });

/** Tells what was thrown, in the words of the command that was called, if it was one. */
const fail = (thrown: unknown, command: Command | undefined, { err }: Terminal): ExitCode => {
  const error = isFatal(thrown) ? thrown : bug(thrown);
  err.write(`rxtune: ${render(command === undefined ? error : errorInFlags(error, optionsOf(command)))}\n`);
  if (process.env['RXTUNE_DEBUG'] !== undefined)
    err.write(`${String(error.cause instanceof Error ? error.cause.stack : error.stack)}\n`);
  return error.kind === 'usage' ? 2 : 1;
};

/** Parses `argv` (without node and script), runs the command it names, and tells how that ended. Never throws. */
export const runCommandLine = async (
  commands: ReadonlyArray<NamedCommand>,
  {
    version,
    argv,
    terminal,
  }: { readonly version: string; readonly argv: ReadonlyArray<string>; readonly terminal: Terminal },
): Promise<ExitCode> => {
  let outcome = { _tag: 'Right', right: undefined } as Either<FatalError, void>;
  let ran: Command | undefined;
  const strict = (command: Command): Command =>
    command
      .exitOverride((complaint) => {
        throw complaint.exitCode === 0 || complaint.code === 'commander.help'
          ? complaint
          : wrongCall(complaint, command);
      })
      .configureOutput({ writeOut: (text) => terminal.out.write(text), writeErr: () => undefined })
      .allowExcessArguments(false)
      .showSuggestionAfterError(false);
  const program = strict(new Command('rxtune'))
    .description('Supervised fine-tuning of language models.')
    .configureHelp({ subcommandTerm: (command) => command.name() })
    .version(version, '-V, --version');
  const [first, second] = argv;
  const called = first === 'help' ? second : first;
  for (const { name, summary, load } of commands) {
    const command = strict(new Command(name)).description(summary);
    program.addCommand(command);
    if (name !== called) continue;
    const { flags, run } = await load();
    flags(command);
    ran = command;
    command.action(async () => {
      outcome = await run(command, terminal)();
    });
  }
  try {
    await program.parseAsync([...argv], { from: 'user' });
  } catch (thrown) {
    if (isFatal(thrown) || !isHelp(thrown)) return fail(thrown, ran, terminal);
    if (thrown.code !== 'commander.help') return 0;
    terminal.err.write(program.helpInformation());
    return 2;
  }
  return outcome._tag === 'Left' ? fail(outcome.left, ran, terminal) : 0;
};

const isHelp = (thrown: unknown): thrown is CommanderError =>
  thrown instanceof Error &&
  'code' in thrown &&
  typeof thrown.code === 'string' &&
  thrown.code.startsWith('commander.');
