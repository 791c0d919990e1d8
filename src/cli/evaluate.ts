/** `rxtune evaluate`: loss, perplexity and token accuracy of a model on a dataset. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { closed, optional, required } from '../formats/closed.js';
import { list, nonEmptyString } from '../formats/optionCodecs.js';
import { writeTextAtomically } from '../formats/files/atomicFile.js';
import { makeRejects } from '../streams/rejects.js';
import { evaluateRows, type Evaluated } from '../train/evaluating/evaluate.js';
import type { Groups } from '../train/evaluating/groupSums.js';
import { loadAsked } from '../train/loading/loadAsked.js';
import { fewOfEach, maxLengthOf } from '../train/preparing/prepare.js';
import { prepareRows } from '../train/preparing/prepareRows.js';
import { makeRowNames } from '../train/preparing/rowNames.js';
import { foundDataset } from '../train/run/beforeLoading.js';
import type { CommandLine } from './command.js';
import { evalRows, filesDoc } from './datasets.js';
import { addSftFlags, decodeSftFlags } from './sftFlags.js';
import { tellingHub, tellLocated, tellRejects, tellWarning } from './tell.js';

const Own = closed('evaluate', {
  model: required(nonEmptyString, 'Directory of the model, or its name on the Hub.'),
  adapter: optional(nonEmptyString, 'Directory of a PEFT adapter to put on it.'),
  evalDataset: required(list(nonEmptyString), `${filesDoc} Of a folder or name the split test or validation.`),
  perRow: optional(nonEmptyString, 'File to write: one object a row, loss and num_tokens, and where the row was read.'),
});

const encodeGroups = (groups: Groups): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(groups).map(([name, { loss, perplexity, meanTokenAccuracy, numTokens }]) => [
      name,
      { loss, perplexity, mean_token_accuracy: meanTokenAccuracy, num_tokens: numTokens },
    ]),
  );

const encode = (evaluated: Evaluated): Readonly<Record<string, unknown>> => ({
  loss: evaluated.tokenLoss,
  eval_loss: evaluated.loss,
  perplexity: evaluated.perplexity,
  mean_token_accuracy: evaluated.meanTokenAccuracy,
  entropy: evaluated.entropy,
  num_rows: evaluated.rows,
  num_tokens: evaluated.numItems,
  roles: encodeGroups(evaluated.roles),
  sources: encodeGroups(evaluated.sources),
});

export const evaluateCommand: CommandLine = {
  flags: (command) => addSftFlags(command, Own.fields, ['data', 'loop', 'running', 'quantisation']),
  run: (command, { out, err }): TaskEither<FatalError, void> =>
    pipe(
      decodeSftFlags(command, Own),
      TE.let('dataset', ({ own }) => evalRows(own.evalDataset, err)),
      // A misspelt name is told before gigabytes are loaded.
      TE.tap(({ dataset }) => foundDataset(dataset)),
      TE.bind('loaded', ({ own, config }) =>
        loadAsked(own.model, config, { adapterDir: own.adapter, hub: tellingHub(err) }),
      ),
      TE.bind('prepared', ({ dataset, config, loaded: { model, tokenizer, warnings, located } }) => {
        tellLocated(err, located);
        warnings.forEach(tellWarning(err));
        const rejects = makeRejects({ maxRate: config.maxRejectRate });
        tellRejects(rejects, err);
        const maxLength = maxLengthOf(config, tokenizer, model.config.maxPositions);
        const names = makeRowNames();
        return pipe(
          prepareRows(
            dataset,
            { tokenizer, rejects, warn: fewOfEach(tellWarning(err)), names },
            { ...config, maxLength, packing: config.evalPacking ?? config.packing },
          ),
          TE.map(({ rows }) => ({ rows, names })),
        );
      }),
      TE.flatMap(({ own, config, loaded: { model }, prepared: { rows, names } }) => {
        const lines: Array<string> = [];
        return pipe(
          evaluateRows(model, rows, {
            size: config.perDeviceEvalBatchSize,
            names,
            onRow: ({ loss, numTokens, file, line }) =>
              lines.push(`${JSON.stringify({ loss, num_tokens: numTokens, file, line })}\n`),
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
