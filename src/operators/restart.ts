import { repeat, tap, throwIfEmpty } from 'rxjs';
import type { MonoTypeOperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import { fatal, warning } from '../errors.js';
import type { Warning } from '../errors.js';

/** Who is told that a source begins anew. */
export interface RestartOptions {
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/**
 * The source over and over, with `W_STREAM_RESTART` each time round. A pass that gives nothing ends it (`E_STREAM_EMPTY`): it
 * would go round for ever.
 */
export const restart = <A>(options: RestartOptions = {}): MonoTypeOperatorFunction<A> => {
  const { warn } = known('restart', amongRun({ warn: 'optional' }), options);
  return (source) =>
    source.pipe(
      throwIfEmpty(() => fatal('E_STREAM_EMPTY', 'The source is empty, so it cannot be repeated')),
      tap({ complete: () => warn?.(warning('W_STREAM_RESTART', 'The source came to its end and begins again')) }),
      repeat(),
    );
};
