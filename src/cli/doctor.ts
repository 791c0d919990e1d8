/** `rxtune doctor`: what could compute here, what would, and why. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed } from '../formats/closed.js';
import { SftConfig } from '../train/config.js';
import { doctor, type Doctor } from '../train/engine.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';

const { engine, threads } = SftConfig.fields;
const Options = closed('doctor', { engine, threads });

/** The first line a C++ compiler says about itself, or undefined when there is none. */
const compiler = async (): Promise<string | undefined> => {
  for (const name of [process.env['CXX'] ?? '', 'g++', 'clang++', 'c++'].filter((one) => one !== '')) {
    try {
      const { stdout } = await promisify(execFile)(name, ['--version']);
      return stdout.split('\n')[0];
    } catch {
      // Not there: the next one may be.
    }
  }
  return undefined;
};

const told = ({ node, platform, engines, chosen }: Doctor, cxx: string | undefined): string =>
  [
    `node      ${node} on ${platform}`,
    `compiler  ${cxx ?? 'none: the native engine cannot be built here'}`,
    ...engines.map(
      ({ engine: name, started, note }, i) =>
        `${i === 0 ? 'engines ' : '        '}  ${started ? '+' : '-'} ${name.padEnd(10)}  ${note}`,
    ),
    `chosen    ${chosen.reason}`,
    '',
  ].join('\n');

export const doctorCommand: CommandLine = {
  name: 'doctor',
  summary: 'tell which engines are there, which one would run, and why',
  flags: (command) => addFlags(command, Options.fields, 'Options:'),
  run: (command, { out }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.flatMap((options) => doctor(options)),
      TE.flatMapTask((report) => async () => {
        out.write(told(report, await compiler()));
      }),
    ),
};
