import type { Either } from 'fp-ts/lib/Either.js';
import { of, throwError } from 'rxjs';
import type { Observable } from 'rxjs';
import { fatalFromData } from '../errors.js';
import type { DataError, FatalError } from '../errors.js';

/** One value, or the error that ends the stream. */
export const fromEither = <A>(either: Either<FatalError | DataError, A>): Observable<A> =>
  either._tag === 'Right'
    ? of(either.right)
    : throwError(() => (either.left._tag === 'DataError' ? fatalFromData(either.left) : either.left));
