/** `rxtune inspect`: rows as the loss sees them, token by token. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed, list, nonEmptyString, option, positiveInteger, required } from '../formats/closed.js';
import { openDataset } from '../formats/dataset.js';
import { requireRows } from '../formats/sourced.js';
import { loadTokenizer } from '../formats/tokenizer.js';
import { makeRejects } from '../streams/rejects.js';
import { maxLengthOf } from '../train/prepare.js';
import { tokensOfRow, type ReportToken } from '../train/report.js';
import { sampleRows } from '../train/sampleRows.js';
import { tokenizerAsked } from '../train/withChatTemplate.js';
import type { CommandLine } from './command.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellRejects } from './tell.js';

const Own = closed('inspect', {
  tokenizer: required(nonEmptyString, 'Directory of a tokenizer (or of a model that has one), or its name on the Hub.'),
  trainDataset: required(list(nonEmptyString), 'Files of rows: .jsonl, .json, .txt, .csv, .parquet, packed or not.'),
  rows: option(positiveInteger, 3, 'Rows shown.'),
});

/** Trained stretches stand in ⟦ ⟧; on a terminal they are green instead, and the rest is dim. */
export const shownRow = (tokens: ReadonlyArray<ReportToken>, colours: boolean): string => {
  const [on, off, end] = colours ? ['\u001b[32m', '\u001b[2m', '\u001b[0m'] : ['⟦', '', '⟧'];
  let text = '';
  let open: boolean | undefined;
  const close = (): string => (open === undefined ? '' : open || colours ? end : '');
  for (const token of tokens) {
    if (token.trained !== open) {
      text += close() + (token.trained ? on : off);
      open = token.trained;
    }
    text += token.text;
  }
  return text + close();
};

export const inspectCommand: CommandLine = {
  name: 'inspect',
  summary: 'show rows of a dataset with the tokens that are trained marked',
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('tokenizer', ({ own, config }) =>
        pipe(
          loadTokenizer(own.tokenizer, { hub: tellingHub(err) }),
          TE.flatMap((tokenizer) => tokenizerAsked(tokenizer, config)),
        ),
      ),
      TE.bind('rows', ({ own, config, tokenizer }) => {
        const rejects = makeRejects({ maxRate: 1 });
        tellRejects(rejects, err);
        return sampleRows(
          requireRows(openDataset(own.trainDataset), own.trainDataset.join(', ')),
          own.rows,
          { tokenizer, rejects },
          { ...config, maxLength: maxLengthOf(config, tokenizer) },
        );
      }),
      TE.map(({ rows, tokenizer }) => {
        for (const [i, row] of rows.entries()) {
          const tokens = tokensOfRow(row, (ids) => tokenizer.decode(ids));
          const trained = tokens.filter((token) => token.trained).length;
          out.write(`row ${i}: ${trained} of ${tokens.length} tokens trained\n`);
          out.write(`${shownRow(tokens, out.isTTY === true)}\n\n`);
        }
      }),
    ),
};
