// Parts of rxjs by name: threads that prepare rows load this file, and the whole of rxjs takes them longer than all the rest.
import { Subject } from 'rxjs/internal/Subject';
import { takeUntil } from 'rxjs/internal/operators/takeUntil';
import type { Observable, Subscriber } from 'rxjs';

/**
 * The source, until `out` is left. Tied before the source is subscribed, so that a source that emits at once and for ever stops
 * in the middle of it.
 */
export const untilLeft = <A, B>(source: Observable<A>, out: Subscriber<B>): Observable<A> => {
  const left = new Subject<void>();
  out.add(() => left.next());
  return source.pipe(takeUntil(left));
};
