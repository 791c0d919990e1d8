import type { Took } from './crew.js';

/** What `work` returns, and what it took of the clock and of the processor. */
export const timed = <A>(work: () => A): readonly [A, Took] => {
  const began = performance.now();
  const usedBefore = process.cpuUsage();
  const result = work();
  const wallMs = performance.now() - began;
  // Of all threads of the process: others may be at work.
  const { user, system } = process.cpuUsage(usedBefore);
  return [result, { wallMs, cpuMs: Math.min(wallMs, (user + system) / 1000) }];
};
