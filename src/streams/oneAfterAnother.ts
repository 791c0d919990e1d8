/** Streams in their turn, each made when the one before has ended. */
import { defer, Observable, Subject, takeUntil } from 'rxjs';

/**
 * The `count` streams that `make` gives for 0, 1, …, one after another. None is made or counted ahead, and any number of them may end
 * at once: unlike `range(…).pipe(concatMap(make))`, which queues all numbers first.
 */
export const oneAfterAnother = <A>(count: number, make: (index: number) => Observable<A>): Observable<A> =>
  new Observable((out) => {
    let index = 0;
    let isTurning = false;
    let isOver = true;
    // Reaches a part even while it is being subscribed to.
    const left = new Subject<void>();
    out.add(() => left.next());
    const turn = (): void => {
      isOver = true;
      // A stream that ends while it is subscribed to is followed by the loop below, not from within.
      if (isTurning) return;
      isTurning = true;
      while (isOver && !out.closed) {
        if (index >= count) {
          out.complete();
          break;
        }
        isOver = false;
        const mine = index++;
        let isComplete = false;
        const part = defer(() => make(mine))
          .pipe(takeUntil(left))
          .subscribe({
            next: (value) => out.next(value),
            error: (error: unknown) => out.error(error),
            complete: () => {
              isComplete = true;
            },
          });
        // Not before it is torn down: what it holds open is closed when the next begins.
        part.add(() => {
          if (isComplete) turn();
        });
      }
      isTurning = false;
    };
    turn();
  });
