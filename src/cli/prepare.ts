/** `rxtune prepare`: rows of a dataset as they would be trained on, as JSON Lines. */
import { once } from 'node:events';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { bufferCount, lastValueFrom } from 'rxjs';
import { fatal, onlyFatal, type FatalError } from '../errors.js';
import { closed, optional, required } from '../formats/closed.js';
import { list, nonEmptyString } from '../formats/optionCodecs.js';
import { encodePreparedRow } from '../formats/examples/preparedRow.js';
import { writeFileAtomically, writeFully } from '../formats/files/atomicFile.js';
import { fileError } from '../formats/files/byteSource.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Labelled } from '../records.js';
import { drain } from '../streams/drain.js';
import { makeGate } from '../streams/gate.js';
import { makeRejects } from '../streams/rejects.js';
import type { SftConfig } from '../train/options/config.js';
import { throughCache } from '../train/preparing/cache/preparedCache.js';
import { fewOfEach, makeTally, maxLengthOf, type PrepareSummary } from '../train/preparing/prepare.js';
import { prepareDataset } from '../train/preparing/prepareDataset.js';
import { sourceLines } from '../train/preparing/sourceCounts.js';
import type { Dataset } from '../train/run/run.js';
import type { CommandLine, Terminal } from './command.js';
import { mixedRows, trainDatasetDoc } from './datasets.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellRejects, tellWarning } from './tell.js';
import { tokenizerOf } from './tokenizerOf.js';
import { counted } from '../formats/counted.js';

const Own = closed('prepare', {
  trainDataset: required(list(nonEmptyString), trainDatasetDoc),
  tokenizer: optional(
    nonEmptyString,
    'Directory of a tokenizer, or its name on the Hub. Not needed for rows that hold input_ids.',
  ),
  model: optional(nonEmptyString, 'Directory or Hub name of a model, for its tokenizer.'),
  out: optional(nonEmptyString, 'File to write. Default: standard output.'),
});

/** Rows written at a time. */
const chunk = 256;

type Write = (text: string) => Promise<void>;

const run = async (
  trainDataset: Dataset,
  tokenizer: Tokenizer | undefined,
  config: SftConfig,
  write: Write,
  { err }: Terminal,
): Promise<PrepareSummary> => {
  const prepared = { ...config, maxLength: maxLengthOf(config, tokenizer) };
  const rejects = makeRejects({ maxRate: config.maxRejectRate });
  tellRejects(rejects, err);
  const deliver = (rows: ReadonlyArray<Labelled>): Promise<void> =>
    write(rows.map((row) => `${encodePreparedRow(row)}\n`).join(''));
  const { summary, fromCache } = await throughCache(
    trainDataset,
    { tokenizer, rejects, warn: fewOfEach(tellWarning(err)) },
    prepared,
    async (rows) => {
      for (let at = 0; at < rows.length; at += chunk) await deliver(rows.slice(at, at + chunk));
    },
    async (setup, pass) => {
      const gate = makeGate({ prefetch: config.prefetch });
      const tally = makeTally(prepared, setup.rejects);
      await lastValueFrom(
        prepareDataset(trainDataset, { ...setup, tally }, prepared, { gate }).pipe(
          bufferCount(chunk),
          drain(pass, gate),
        ),
        { defaultValue: undefined },
      );
      return tally.summary();
    },
  );
  if (fromCache) err.write('prepared before, taken from the cache\n');
  return summary;
};

const told = (summary: PrepareSummary): string => {
  const { rejectedByReason, packingEfficiency, warnings, perSource } = summary;
  const lines: ReadonlyArray<readonly [string, string | number]> = [
    ['rows read', summary.rowsRead],
    ['rejected', summary.rejected],
    ...Object.entries(rejectedByReason).map(([code, count]): [string, number] => [`  ${code}`, count ?? 0]),
    ['truncated', summary.truncated],
    ['fully masked', summary.fullyMasked],
    ['rows prepared', summary.rows],
    ['tokens', summary.tokens],
    ['trained tokens', summary.trainedTokens],
    ...(packingEfficiency === undefined ? [] : [['packing efficiency', packingEfficiency.toFixed(4)] as const]),
    ...Object.entries(warnings).map(([code, count]): [string, number] => [`warned ${code}`, count ?? 0]),
  ];
  return [
    ...lines.map(([name, value]) => `${name}: ${value}\n`),
    ...sourceLines(perSource).map((line) => `from ${line}\n`),
  ].join('');
};

const nothingLeft = (
  { rowsRead, fullyMasked }: PrepareSummary,
  file: string,
  tokenizer: Tokenizer | undefined,
): FatalError =>
  fatal('E_NO_ROWS', `of ${counted(rowsRead, 'row')} none is left to train on`, {
    file,
    ...(tokenizer === undefined
      ? { hint: 'give --tokenizer DIR: without one, rows must hold input_ids' }
      : fullyMasked > 0
        ? { hint: 'no row has a token to train: does responseTemplate match?' }
        : {}),
  });

export const prepareCommand: CommandLine = {
  flags: (command) => addSftFlags(command, Own.fields, ['data', 'loop']),
  run: (command, terminal): TaskEither<FatalError, void> =>
    pipe(
      TE.Do,
      TE.bind('call', () => decodeSftFlags(command, Own)),
      TE.bind('tokenizer', ({ call: { own, config } }) => tokenizerOf(own, config, terminal.err)),
      TE.bind('data', ({ call: { own, config } }) => TE.fromEither(mixedRows(own.trainDataset, config, terminal.err))),
      TE.flatMap(({ call: { own, config }, data, tokenizer }) => {
        const through = (write: Write): TaskEither<FatalError, void> =>
          pipe(
            TE.tryCatch(() => run(data, tokenizer, config, write, terminal), onlyFatal),
            TE.tapIO((summary) => () => terminal.err.write(told(summary))),
            TE.flatMap((summary) =>
              summary.rows === 0
                ? TE.left(nothingLeft(summary, own.trainDataset.join(', '), tokenizer))
                : TE.right(undefined),
            ),
          );
        return own.out === undefined
          ? through(async (text) => {
              if (!terminal.out.write(text)) await once(terminal.out, 'drain');
            })
          : intoFile(own.out, through);
      }),
    ),
};

/** Writes a file that is there whole or, when anything fails, not at all. */
const intoFile = (
  path: string,
  through: (write: Write) => TaskEither<FatalError, void>,
): TaskEither<FatalError, void> =>
  writeFileAtomically(path, async (handle) => {
    const result = await through((text) =>
      writeFully(handle, Buffer.from(text)).catch((error: unknown) => {
        throw fileError(path, error);
      }),
    )();
    if (result._tag === 'Left') throw result.left;
  });
