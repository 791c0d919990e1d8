/** What a person can do to a run while it runs. Takes effect between two updates, in the serial lane. */

export interface RunInputs {
  /** Holds the run after the update that is running. */
  readonly pause: () => void;
  /** Goes on after `pause`. */
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
  /** Ends the epoch after the update that is running: what is left of it is not read. Where rows are streamed, a warning says it cannot. */
  readonly stopEpoch: () => void;
  /** Goes before the schedule from the next update on; undefined gives the rate back to the schedule. */
  readonly setLearningRate: (learningRate: number | undefined) => void;
}

/**
 * What a callback may give back: transformers' flags. `true` asks for it as the input of the same meaning does; `false` calls off what the
 * strategies have due at this update, never what was asked for.
 */
export interface TrainerControl {
  /** As `stop`: the final model is written. */
  readonly shouldTrainingStop: boolean;
  /** As `stopEpoch`. */
  readonly shouldEpochStop: boolean;
  /** As `checkpointNow`. */
  readonly shouldSave: boolean;
  /** As `evaluateNow`. */
  readonly shouldEvaluate: boolean;
  /** As `logNow`. */
  readonly shouldLog: boolean;
}

/** The lane's side of the same. */
export interface Controls {
  readonly inputs: RunInputs;
  /** Settles at once, or when the run is no longer held. */
  readonly ready: () => Promise<void>;
  readonly isStopping: () => boolean;
  /** Nobody listens any more: what still runs is to end unheard. */
  readonly leave: () => void;
  /** Throws where nobody listens any more, so that what was on its way tells, writes and makes nothing more. */
  readonly stay: () => void;
  /** How the run ends; `finished` unless something ended it before its last update. `left`: to be resumed. */
  readonly ending: () => 'finished' | 'stopped' | 'early' | 'left';
  /** Ends the run because patience is at its end. */
  readonly endEarly: () => void;
  /** Does what the flags say. */
  readonly follow: (control: Partial<TrainerControl>) => void;
  /** An update begins: what was called off was called off for the one before. */
  readonly newStep: () => void;
  /** Whether a checkpoint was asked for (or called off) since this was last asked. */
  readonly takeCheckpoint: () => boolean | undefined;
  /** Whether an evaluation was asked for (or called off) since this was last asked. */
  readonly takeEvaluation: () => boolean | undefined;
  /** Whether a log row was asked for (or called off) since this was last asked. */
  readonly takeLog: () => boolean | undefined;
  /** Whether the end of the epoch was asked for since this was last asked. */
  readonly takeEpochStop: () => boolean;
  /** The rate set by hand since this was last asked; undefined: none was set. */
  readonly takeLearningRate: () => { readonly learningRate: number | undefined } | undefined;
}

export const makeControls = (): Controls => {
  let held: { readonly until: Promise<void>; readonly release: () => void } | undefined;
  let ending: ReturnType<Controls['ending']> = 'finished';
  const asked: Record<'checkpoint' | 'evaluation' | 'log', boolean | undefined> = {
    checkpoint: undefined,
    evaluation: undefined,
    log: undefined,
  };
  let epochStop = false;
  let isLeft = false;
  const take = (what: keyof typeof asked): boolean | undefined => {
    const was = asked[what];
    asked[what] = undefined;
    return was;
  };
  /** What is asked for stays so: a checkpoint that somebody waits for is not another callback's to call off. */
  const flag = (what: keyof typeof asked, value: boolean | undefined): void => {
    if (asked[what] !== true) asked[what] = value ?? asked[what];
  };
  let rate: { readonly learningRate: number | undefined } | undefined;
  const resume = (): void => {
    held?.release();
    held = undefined;
  };
  const inputs: RunInputs = {
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
      if (options.checkpoint === true) asked.checkpoint = true;
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
    stopEpoch: () => {
      epochStop = true;
    },
    setLearningRate: (learningRate) => {
      rate = { learningRate };
    },
  };
  return {
    inputs,
    follow: ({ shouldTrainingStop, shouldEpochStop, shouldSave, shouldEvaluate, shouldLog }) => {
      if (shouldTrainingStop === true) inputs.stop();
      if (shouldEpochStop === true) epochStop = true;
      flag('checkpoint', shouldSave);
      flag('evaluation', shouldEvaluate);
      flag('log', shouldLog);
    },
    newStep: () => {
      for (const what of ['checkpoint', 'evaluation', 'log'] as const)
        asked[what] = asked[what] === true ? true : undefined;
    },
    ready: () => held?.until ?? Promise.resolve(),
    isStopping: () => ending !== 'finished',
    leave: () => {
      isLeft = true;
    },
    stay: () => {
      if (isLeft) throw new Error('nobody listens to this run any more');
    },
    ending: () => ending,
    endEarly: () => {
      if (ending === 'finished') ending = 'early';
    },
    takeCheckpoint: () => take('checkpoint'),
    takeEvaluation: () => take('evaluation'),
    takeLog: () => take('log'),
    takeEpochStop: () => {
      const was = epochStop;
      epochStop = false;
      return was;
    },
    takeLearningRate: () => {
      const set = rate;
      rate = undefined;
      return set;
    },
  };
};
