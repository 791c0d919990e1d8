import { Subject, takeUntil, type Observable, type Subscriber } from 'rxjs';

/**
 * The source, until `out` is left. Tied before the source is subscribed, so that a source that emits at once and for ever stops
 * in the middle of it.
 */
export const untilLeft = <A, B>(source: Observable<A>, out: Subscriber<B>): Observable<A> => {
  const left = new Subject<void>();
  out.add(() => left.next());
  return source.pipe(takeUntil(left));
};
