/** The end of a run: the best weights or the last ones, saved; and what the run came to. */
import { join } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { checkpointName } from '../formats/checkpoint.js';
import { saveAsked } from './hooks.js';
import { epochAfter } from './plan.js';
import { restoreWeights } from './resume.js';
import type { Run, RunSummary } from './run.js';
import { saveModel, saveOptionsOf } from './save.js';
import { cardOf, writeModelCard } from './writeModelCard.js';

const summaryOf = (run: Run): RunSummary => {
  const { state, plan, controls, config, startedAt, startStep, startTokens } = run;
  const seconds = (performance.now() - startedAt) / 1000;
  const ended = controls.ending();
  return {
    steps: state.step,
    epoch: epochAfter(plan, state.microBatches),
    trainLoss: state.totalLoss / Math.max(1, state.step - state.skippedSteps),
    numTokens: state.numTokens,
    seconds,
    tokensPerSecond: (state.numTokens - startTokens) / seconds,
    stepsPerSecond: (state.step - startStep) / seconds,
    skippedSteps: state.skippedSteps,
    emptyMicroBatches: state.emptyMicroBatches,
    // A run that was told to stop during its last update has finished all the same.
    ended: ended === 'left' && state.step === plan.totalSteps ? 'finished' : ended,
    ...(state.best === undefined ? {} : { bestStep: state.best.step, bestMetric: state.best.metric }),
    ...(config.outputDir === undefined ? {} : { outputDir: config.outputDir }),
  };
};

/** Saves the final model, unless the run was left to be resumed, and tells what the run came to. */
export const finish = (run: Run): TaskEither<FatalError, void> => {
  const { config, state, emit } = run;
  const { outputDir, loadBestModelAtEnd } = config;
  const summary = summaryOf(run);
  const best = loadBestModelAtEnd && outputDir !== undefined ? state.best : undefined;
  return pipe(
    saveAsked(run),
    TE.flatMap(() =>
      best === undefined || outputDir === undefined || summary.ended === 'left'
        ? TE.right(undefined)
        : restoreWeights(join(outputDir, checkpointName(best.step)), state.model),
    ),
    TE.flatMap(() =>
      outputDir === undefined || summary.ended === 'left'
        ? TE.right<FatalError, ReadonlyArray<string>>([])
        : pipe(
            saveModel(outputDir, state.model, saveOptionsOf(run)),
            TE.tap(() => writeModelCard(outputDir, cardOf(run, summary, outputDir))),
          ),
    ),
    TE.map(() => undefined),
    TE.tapIO(() => () => emit({ kind: 'finished', summary })),
  );
};
