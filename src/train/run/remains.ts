/** What a run that cannot begin, or is left while it does, would leave behind. */
import type { IO } from 'fp-ts/lib/IO.js';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Weights } from '../../model/layers/layer.js';
import type { CausalLM } from '../../model/model.js';
import type { SftSetup } from './run.js';

export interface Remains {
  readonly add: (free: IO<void>) => void;
  /** Adds the weights of a model that are not among these. */
  readonly weights: (model: CausalLM, brought: Weights) => void;
  readonly free: IO<void>;
}

export const makeRemains = (): Remains => {
  const all: Array<IO<void>> = [];
  return {
    add: (free) => {
      all.push(free);
    },
    weights: ({ weights }, brought) => {
      const known = new Set(Object.values(brought));
      const own = Object.values(weights).filter((weight) => !known.has(weight));
      all.push(() => {
        for (const weight of own) weight.dispose();
      });
    },
    free: () => {
      for (const free of all.splice(0).toReversed()) free();
    },
  };
};

/** The weights that are the caller's: none of a model that is loaded here. */
export const weightsBrought = ({ model, modelInit }: SftSetup, found: CausalLM): Weights =>
  modelInit !== undefined ? found.weights : typeof model === 'object' ? model.weights : {};

/** The same; where it fails, nothing remains. What is thrown as a FatalError becomes a Left. */
export const withoutRemains =
  ({ free }: Remains) =>
  <A>(task: TaskEither<FatalError, A>): TaskEither<FatalError, A> =>
  async () => {
    try {
      const made = await task();
      if (E.isLeft(made)) free();
      return made;
    } catch (cause) {
      free();
      if (isFatal(cause)) return E.left(cause);
      throw cause;
    }
  };
