import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../errors.js';
import type { Run } from './run.js';

export const resume = (_run: Run): TaskEither<FatalError, void> => TE.right(undefined);
