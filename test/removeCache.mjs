/** Removes what the tests of this run have kept of prepared rows. */
import { rmSync } from 'node:fs';

export default () => {
  const cache = process.env.RXTUNE_CACHE ?? '';
  // One that the caller named is the caller's.
  if (cache.endsWith(`rxtune-tests-${process.pid}`)) rmSync(cache, { recursive: true, force: true });
};
