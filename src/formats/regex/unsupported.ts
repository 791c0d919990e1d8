import { type Either, left, right } from 'fp-ts/lib/Either.js';

/** Why a pattern cannot be matched in time that grows with the text alone; goes on with "it …". */
export class Unsupported extends Error {}

/** What `make` gives. Left: the reason of the `Unsupported` that it threw. */
export const orReason = <A>(make: () => A): Either<string, A> => {
  try {
    return right(make());
  } catch (cause) {
    if (cause instanceof Unsupported) return left(cause.message);
    throw cause;
  }
};
