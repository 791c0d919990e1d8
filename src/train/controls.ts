/** What a person can do to a run while it runs. Takes effect between two updates, in the serial lane. */

export interface RunInputs {
  /** Holds the run after the update that is running. */
  readonly pause: () => void;
  readonly resume: () => void;
  /**
   * Ends the run after the update that is running, as if it had been the last: the final model is written. With `checkpoint` the
   * run is left to be resumed: a checkpoint is written and no final model.
   */
  readonly stop: (options?: { readonly checkpoint?: boolean }) => void;
  /** Writes a checkpoint after the update that is running. */
  readonly checkpointNow: () => void;
  /** Evaluates after the update that is running, whatever the strategy says. */
  readonly evaluateNow: () => void;
  /** Writes a log row after the update that is running. */
  readonly logNow: () => void;
  /** Goes before the schedule from the next update on; undefined gives the rate back to the schedule. */
  readonly setLearningRate: (learningRate: number | undefined) => void;
}

/** The lane's side of the same. */
export interface Controls {
  readonly inputs: RunInputs;
  /** Settles at once, or when the run is no longer held. */
  readonly ready: () => Promise<void>;
  readonly isStopping: () => boolean;
  /** How the run ends; `finished` unless something ended it before its last update. `left`: to be resumed. */
  readonly ending: () => 'finished' | 'stopped' | 'early' | 'left';
  /** Ends the run because patience is at its end. */
  readonly endEarly: () => void;
  /** Whether a checkpoint was asked for since this was last asked. */
  readonly takeCheckpoint: () => boolean;
  /** Whether an evaluation was asked for since this was last asked. */
  readonly takeEvaluation: () => boolean;
  /** Whether a log row was asked for since this was last asked. */
  readonly takeLog: () => boolean;
  /** The rate set by hand since this was last asked; undefined: none was set. */
  readonly takeLearningRate: () => { readonly learningRate: number | undefined } | undefined;
}

export const makeControls = (): Controls => {
  let held: { readonly until: Promise<void>; readonly release: () => void } | undefined;
  let ending: ReturnType<Controls['ending']> = 'finished';
  const asked = { checkpoint: false, evaluation: false, log: false };
  const take = (what: keyof typeof asked): boolean => {
    const was = asked[what];
    asked[what] = false;
    return was;
  };
  let rate: { readonly learningRate: number | undefined } | undefined;
  const resume = (): void => {
    held?.release();
    held = undefined;
  };
  return {
    inputs: {
      pause: () => {
        if (held !== undefined || ending !== 'finished') return;
        let release = (): void => undefined;
        const until = new Promise<void>((resolve) => {
          release = resolve;
        });
        held = { until, release };
      },
      resume,
      stop: (options = {}) => {
        ending = options.checkpoint === true ? 'left' : 'stopped';
        asked.checkpoint ||= options.checkpoint ?? false;
        resume();
      },
      checkpointNow: () => {
        asked.checkpoint = true;
      },
      evaluateNow: () => {
        asked.evaluation = true;
      },
      logNow: () => {
        asked.log = true;
      },
      setLearningRate: (learningRate) => {
        rate = { learningRate };
      },
    },
    ready: () => held?.until ?? Promise.resolve(),
    isStopping: () => ending !== 'finished',
    ending: () => ending,
    endEarly: () => {
      if (ending === 'finished') ending = 'early';
    },
    takeCheckpoint: () => take('checkpoint'),
    takeEvaluation: () => take('evaluation'),
    takeLog: () => take('log'),
    takeLearningRate: () => {
      const set = rate;
      rate = undefined;
      return set;
    },
  };
};
