/** The epochs of a run as its lane passes through them: told at both ends, with what is due at their end, and ended early when asked. */
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { warning } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { StepResult } from '../../records.js';
import { epochAfter } from '../step/plan.js';
import { atEpochEnd, evaluateEpoch, logEpoch, saveEpoch } from './hooks.js';
import type { EpochMark, Run } from './run.js';

export interface Epochs {
  /** Before an update: an epoch begins, unless one is under way. */
  readonly enter: () => void;
  /** After an update: what is due at the end of the epoch, where it ends here or is to. */
  readonly after: (result: StepResult) => TaskEither<FatalError, void>;
  /** At the end of the run: ends the epoch that is under way, unless the run was left to be resumed. */
  readonly close: () => TaskEither<FatalError, void>;
}

/** The first micro-batch of the next epoch. */
export const nextEpoch = (microBatches: number, microBatchesPerEpoch: number): number =>
  Math.ceil(microBatches / microBatchesPerEpoch) * microBatchesPerEpoch;

export const epochsOf = (run: Run): Epochs => {
  const { state, plan, controls, emit } = run;
  const { microBatchesPerEpoch } = plan;
  const isCounted = Number.isFinite(microBatchesPerEpoch);
  let under: { readonly index: number; readonly last?: StepResult } | undefined;

  const mark = (index: number): EpochMark => ({
    index,
    step: state.step,
    epoch: epochAfter(plan, state.microBatches),
  });

  const leave = (index: number, result: StepResult): TaskEither<FatalError, void> => {
    under = undefined;
    emit({ kind: 'epochEnded', epoch: mark(index) });
    return pipe(
      logEpoch(run)(result),
      TE.flatMap(() => evaluateEpoch(run)(result)),
    );
  };

  return {
    enter: () => {
      controls.newStep();
      if (under !== undefined) return;
      const index = isCounted ? Math.floor(state.microBatches / microBatchesPerEpoch) : 0;
      under = { index };
      emit({ kind: 'epochBegun', epoch: mark(index) });
    },
    after: (result) => {
      const index = under?.index ?? 0;
      under = { index, last: result };
      const asked = controls.takeEpochStop();
      if (asked && !isCounted) {
        const hint = 'hold the rows in memory (streaming: false), or stop the run';
        emit({
          kind: 'warning',
          warning: warning('W_EPOCH_STREAMED', 'a streamed dataset has no epoch that could be ended', { hint }),
        });
      }
      const isCut = asked && isCounted;
      if (!isCut && !atEpochEnd(run)) return TE.right(undefined);
      return pipe(
        leave(index, result),
        TE.tapIO(() => () => {
          if (isCut) state.microBatches = nextEpoch(state.microBatches, microBatchesPerEpoch);
        }),
      );
    },
    close: () => {
      if (under?.last === undefined || controls.ending() === 'left') return TE.right(undefined);
      return pipe(
        leave(under.index, under.last),
        TE.flatMap(() => saveEpoch(run)),
      );
    },
  };
};
