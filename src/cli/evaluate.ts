/** `rxtune evaluate`: loss, perplexity and token accuracy of a model on a dataset. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { writeTextAtomically } from '../formats/atomicFile.js';
import { closed, list, nonEmptyString, optional, required } from '../formats/closed.js';
import { openDataset } from '../formats/dataset.js';
import { requireRows } from '../formats/sourced.js';
import { makeRejects } from '../streams/rejects.js';
import { prepareRows } from '../train/prepareRows.js';
import { evaluateRows, type Evaluated } from '../train/evaluate.js';
import { loadParts } from '../train/load.js';
import { fewOfEach, maxLengthOf } from '../train/prepare.js';
import type { CommandLine } from './command.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellLocated, tellRejects, tellWarning } from './tell.js';

const Own = closed('evaluate', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  adapter: optional(nonEmptyString, 'Directory of a PEFT adapter to put on it.'),
  evalDataset: required(list(nonEmptyString), 'Files of rows: .jsonl, .json, .txt, .csv, .parquet, packed or not.'),
  perRow: optional(nonEmptyString, 'File to write: one object a row, loss and num_tokens.'),
});

const encode = (evaluated: Evaluated): Readonly<Record<string, number>> => ({
  loss: evaluated.tokenLoss,
  eval_loss: evaluated.loss,
  perplexity: evaluated.perplexity,
  mean_token_accuracy: evaluated.meanTokenAccuracy,
  entropy: evaluated.entropy,
  num_rows: evaluated.rows,
  num_tokens: evaluated.numItems,
});

export const evaluateCommand: CommandLine = {
  name: 'evaluate',
  summary: 'tell the loss, perplexity and token accuracy of a model on a dataset',
  flags: (command) => addSftFlags(command, Own.fields),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.bind('loaded', ({ own, config: { engine, threads, precision } }) =>
        loadParts(own.model, { engine, threads, precision, adapterDir: own.adapter, hub: tellingHub(err) }),
      ),
      TE.bind('prepared', ({ own, config, loaded: { model, tokenizer, warnings, located } }) => {
        tellLocated(err, located);
        warnings.forEach(tellWarning(err));
        const rejects = makeRejects({ maxRate: config.maxRejectRate });
        tellRejects(rejects, err);
        const maxLength = maxLengthOf(config, tokenizer, model.config.maxPositions);
        return prepareRows(
          requireRows(openDataset(own.evalDataset), own.evalDataset.join(', ')),
          { tokenizer, rejects, warn: fewOfEach(tellWarning(err)) },
          { ...config, maxLength, packing: config.evalPacking ?? config.packing },
        );
      }),
      TE.flatMap(({ own, config, loaded: { model }, prepared: { rows } }) => {
        const lines: Array<string> = [];
        return pipe(
          evaluateRows(model, rows, {
            size: config.perDeviceEvalBatchSize,
            onRow: ({ loss, numTokens }) => lines.push(`${JSON.stringify({ loss, num_tokens: numTokens })}\n`),
          }),
          TE.tap(() =>
            own.perRow === undefined ? TE.right(undefined) : writeTextAtomically(own.perRow, lines.join('')),
          ),
          TE.tapIO((evaluated) => () => out.write(`${JSON.stringify(encode(evaluated))}\n`)),
          TE.map(() => undefined),
        );
      }),
    ),
};
