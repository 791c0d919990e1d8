/** The end of a run: the best weights or the last ones, saved; and what the run came to. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import { epochAfter } from './plan.js';
import type { Run, RunSummary } from './run.js';
import { saveModel } from './save.js';

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
  const { config, state, tokenizer, emit } = run;
  const summary = summaryOf(run);
  const saved =
    config.outputDir === undefined || summary.ended === 'left'
      ? TE.right(undefined)
      : saveModel(config.outputDir, state.model, tokenizer);
  return pipe(
    saved,
    TE.tapIO(() => () => emit({ kind: 'finished', summary })),
  );
};
