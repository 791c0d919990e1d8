/** `rxtune doctor`: what could compute here, what would, and why. */
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed } from '../formats/closed.js';
import { cudaCard, doctor, nativeDetails } from '../train/engine.js';
import type { Doctor, NativeDetails } from '../train/engine.js';
import { availableMemory } from '../train/memory/availableMemory.js';
import type { AvailableMemory } from '../train/memory/availableMemory.js';
import { gibibytes } from '../train/memory/memory.js';
import { SftConfig } from '../train/options/config.js';
import type { CommandLine } from './command.js';
import { addFlags, flagsGiven } from './flags.js';
import { decodeGiven } from './options.js';

const { engine, threads, device } = SftConfig.fields;
const Options = closed('doctor', { engine, threads, device });

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

/** What would make this machine faster, and how to get it. */
const missing = (native: Either<string, NativeDetails>, cxx: string | undefined): ReadonlyArray<string> => {
  if (E.isLeft(native))
    return cxx === undefined
      ? [
          'a C++17 compiler (g++ or clang++), to build the native engine with',
          `the native engine, once there is a compiler: ${native.left}`,
        ]
      : [`the native engine: ${native.left}`];
  const { threads, cores, bfloat16 } = native.right;
  return [
    ...(threads < cores ? [`threads: ${threads} of ${cores} are used; leave out --threads to use all`] : []),
    ...(bfloat16 ? [] : ['instructions for bfloat16: --precision bfloat16 saves memory here, and no time']),
  ];
};

/** A heading and its lines, one below the other. */
const section = (heading: string, lines: ReadonlyArray<string>): ReadonlyArray<string> =>
  lines.map((line, i) => `${(i === 0 ? heading : '').padEnd(8)}  ${line}`);

const nativeLines = ({ instructions, threads, cores, bfloat16 }: NativeDetails): ReadonlyArray<string> => [
  `instructions  ${instructions}${process.env['RXTUNE_ISA'] === undefined ? '' : ', as RXTUNE_ISA says'}`,
  `threads       ${threads} of ${cores}`,
  `bfloat16      ${bfloat16 ? 'multiplied by the processor itself' : 'not multiplied by the processor: products stay float32'}`,
];

const told = (
  { node, platform, engines, chosen }: Doctor,
  native: Either<string, NativeDetails>,
  card: Either<string, string>,
  cxx: string | undefined,
  memory: AvailableMemory,
): string => {
  const lacking = missing(native, cxx);
  return [
    ...section('node', [`${node} on ${platform}`]),
    ...section('compiler', [cxx ?? 'none: the native engine cannot be built here']),
    ...section(
      'engines',
      engines.map(({ engine: name, started, note }) => `${started ? '+' : '-'} ${name.padEnd(10)}  ${note}`),
    ),
    ...section('native', E.isLeft(native) ? [] : nativeLines(native.right)),
    ...section('cuda', [E.isLeft(card) ? `- ${card.left}` : `+ ${card.right}`]),
    ...section('memory', [`${gibibytes(memory.bytes)} (${memory.source})`]),
    ...section('chosen', [chosen.reason]),
    ...section('missing', lacking.length === 0 ? ['nothing'] : lacking),
    '',
  ].join('\n');
};

export const doctorCommand: CommandLine = {
  flags: (command) => addFlags(command, Options.fields, { heading: 'Options:' }),
  run: (command, { out }): TaskEither<FatalError, void> =>
    pipe(
      TE.fromEither(decodeGiven({ flags: flagsGiven(command, Options.fields) }, Options.decode)),
      TE.bindTo('options'),
      // Asked first: what the doctor chooses stays the engine that runs.
      TE.bind('native', ({ options }) => TE.fromTask(nativeDetails(options))),
      TE.bind('card', () => TE.fromTask(cudaCard)),
      TE.bind('report', ({ options }) => doctor(options)),
      TE.flatMapTask(({ report, native, card }) => async () => {
        out.write(told(report, native, card, await compiler(), availableMemory()));
      }),
    ),
};
