/** `rxtune inspect`: whether a data set is fit to train on, and its rows as the loss sees them, token by token. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/atomicFile.js';
import {
  boolean,
  closed,
  list,
  nonEmptyString,
  option,
  optional,
  positiveInteger,
  required,
} from '../formats/closed.js';
import { loadTokenizer, type Tokenizer } from '../formats/tokenizer.js';
import { encodePreflight } from '../train/preflight/encode.js';
import { preflightPage } from '../train/preflight/page.js';
import { preflightDataset } from '../train/preflight/dataset.js';
import { preflightFault } from '../train/preflight/strict.js';
import { preflightText } from '../train/preflight/text.js';
import { maxLengthOf } from '../train/prepare.js';
import type { CommandLine } from './command.js';
import { mixedRows, trainDatasetDoc } from './datasets.js';
import { tellingHub } from './tell.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';

const Own = closed('inspect', {
  tokenizer: optional(
    nonEmptyString,
    'Directory of a tokenizer, or its name on the Hub. Not needed for rows that hold input_ids.',
  ),
  model: optional(nonEmptyString, 'Directory of a model, for its tokenizer.'),
  trainDataset: required(list(nonEmptyString), trainDatasetDoc),
  rows: option(positiveInteger, 3, 'Rows shown, beside one for each check that found any.'),
  maxRows: optional(positiveInteger, 'Rows read. Default: all.'),
  html: optional(nonEmptyString, 'HTML file to write: the report as one page.'),
  json: option(boolean, false, 'Write the report as JSON.'),
});

/** Colours are for terminals, unless the environment says no (no-color.org). */
const colourful = ({ isTTY }: { readonly isTTY?: boolean }): boolean =>
  isTTY === true && (process.env['NO_COLOR'] ?? '') === '';

/** Ids in place of text where there is no tokenizer to tell. */
const decoder =
  (tokenizer: Tokenizer | undefined) =>
  (ids: ReadonlyArray<number>): string =>
    tokenizer?.decode(ids) ?? ids.map((id) => `${id} `).join('');

export const inspectCommand: CommandLine = {
  name: 'inspect',
  summary: 'tell whether a dataset is fit to train on, and show its rows token by token',
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('data', ({ own, config }) => TE.fromEither(mixedRows(own.trainDataset, config, err))),
      TE.bind('tokenizer', ({ own }): TaskEither<FatalError, Tokenizer | undefined> => {
        const directory = own.tokenizer ?? own.model;
        return directory === undefined ? TE.right(undefined) : loadTokenizer(directory, { hub: tellingHub(err) });
      }),
      TE.bind('report', ({ own, config, data, tokenizer }) =>
        preflightDataset(
          data,
          { tokenizer, samples: own.rows, maxRows: own.maxRows },
          { ...config, maxLength: maxLengthOf(config, tokenizer) },
        ),
      ),
      TE.tap(({ own, tokenizer, report }) =>
        own.html === undefined
          ? TE.right(undefined)
          : writeTextAtomically(
              own.html,
              preflightPage(report, {
                title: own.trainDataset.join(', '),
                decode: decoder(tokenizer),
                padTokenId: tokenizer?.padTokenId,
              }),
            ),
      ),
      TE.flatMap(({ own, config, tokenizer, report }) => {
        out.write(
          own.json
            ? `${JSON.stringify(encodePreflight(report))}\n`
            : preflightText(report, {
                colours: colourful(out),
                decode: decoder(tokenizer),
                padTokenId: tokenizer?.padTokenId,
              }),
        );
        const fault = config.strict ? preflightFault(report) : undefined;
        return fault === undefined ? TE.right(undefined) : TE.left(fault);
      }),
    ),
};
