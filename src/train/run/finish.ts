/** The end of a run: the best weights or the last ones, saved; and what the run came to. */
import { join } from 'node:path';
import { pipe } from 'fp-ts/lib/function.js';
import * as T from 'fp-ts/lib/Task.js';
import type { Task } from 'fp-ts/lib/Task.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { warning } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { checkpointName, rotateCheckpoints } from '../../formats/checkpoints/checkpoint.js';
import { saveModel, saveOptionsOf } from '../saving/save.js';
import { cardOf, writeModelCard } from '../saving/writeModelCard.js';
import { epochAfter } from '../step/plan.js';
import { saveAsked, tellPushes } from './hooks.js';
import { restoreWeights } from './resume.js';
import type { Run, RunSummary } from './run.js';

const summaryOf = (run: Run): RunSummary => {
  const { state, plan, controls, config, refusals, now, startedAt, startStep, startTokens } = run;
  const seconds = (now() - startedAt) / 1000;
  const ended = controls.ending();
  const refused = refusals.total();
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
    rejected: refused.rows,
    rejectedByReason: refused.reasons,
    // A run that was told to stop during its last update has finished all the same.
    ended: ended === 'left' && state.step === plan.totalSteps ? 'finished' : ended,
    ...(state.best === undefined ? {} : { bestStep: state.best.step, bestMetric: state.best.metric }),
    ...(config.outputDir === undefined ? {} : { outputDir: config.outputDir }),
  };
};

/** The best checkpoint's weights in the model; where they cannot be had (false) the last ones stay, and a warning tells it. */
const restoreBest = ({ config: { outputDir }, state: { best, model }, emit }: Run): Task<boolean> => {
  if (best === undefined || outputDir === undefined) return T.of(true);
  const dir = best.dir ?? join(outputDir, checkpointName(best.step));
  return pipe(
    restoreWeights(dir, model),
    TE.match(
      ({ message }) => {
        const told = `the best checkpoint cannot be loaded, and the last weights are saved: ${message}`;
        emit({ kind: 'warning', warning: warning('W_BEST_MODEL_LOST', told, { file: dir }) });
        return false;
      },
      () => true,
    ),
  );
};

/** Where one checkpoint is to be kept, that is the best: the newest served to go on from while the run went on. */
const keepBestAlone = ({
  config: { outputDir, saveTotalLimit },
  state: { best },
}: Run): TaskEither<FatalError, void> =>
  outputDir === undefined || saveTotalLimit !== 1 || best?.saved !== true || best.dir !== undefined
    ? TE.right(undefined)
    : TE.map(() => undefined)(rotateCheckpoints(outputDir, { limit: 1, best: best.step, written: best.step }));

/** What a run comes to, on the Hub. */
const pushed = (run: Run, { ended, steps }: RunSummary): TaskEither<FatalError, void> =>
  pipe(
    run.pusher?.end({ left: ended === 'left', step: steps }) ?? TE.right(undefined),
    TE.tapIO(() => () => tellPushes(run)),
    // What went well before is told of an end that did not.
    TE.tapError(() => TE.fromIO(() => tellPushes(run))),
  );

/** Saves the final model, unless the run was left to be resumed, and tells what the run came to. */
export const finish = (run: Run): TaskEither<FatalError, void> => {
  const { config, setup, state, controls, refusals, emit } = run;
  const { outputDir, loadBestModelAtEnd } = config;
  const summary = summaryOf(run);
  return pipe(
    saveAsked(run),
    TE.flatMap(() => (loadBestModelAtEnd && summary.ended !== 'left' ? TE.fromTask(restoreBest(run)) : TE.right(true))),
    TE.flatMap((found) =>
      outputDir === undefined || summary.ended === 'left'
        ? TE.right<FatalError, ReadonlyArray<string>>([])
        : pipe(
            saveModel(outputDir, state.model, saveOptionsOf(run)),
            TE.tapIO(() => controls.stay),
            TE.tap(() => writeModelCard(outputDir, cardOf(run, summary, outputDir))),
            TE.tap(() => (found ? keepBestAlone(run) : TE.right(undefined))),
          ),
    ),
    TE.flatMap(() => pushed(run, summary)),
    TE.tapIO(() => () => {
      // Who gave a side door of their own has heard of each.
      const refused = setup.rejects === undefined ? refusals.told() : undefined;
      if (refused !== undefined) emit({ kind: 'warning', warning: refused });
      emit({ kind: 'finished', summary });
    }),
  );
};
