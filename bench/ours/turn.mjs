/** Runs a trainer one step a line of standard input, and says what each step took. */
import { createInterface } from 'node:readline';
import { readFileSync } from 'node:fs';
import { nativeStatistics } from '../../dist/native/register.js';

/** Most resident memory this process has had, in bytes. */
export const peakBytes = () => {
  const line = readFileSync('/proc/self/status', 'utf8').match(/VmHWM:\s+(\d+)/);
  return line === null ? process.memoryUsage().rss : Number(line[1]) * 1024;
};

const say = (record) => process.stdout.write(`${JSON.stringify(record)}\n`);

export const takingTurns = (run) => {
  let began = 0;
  let before = { busySeconds: 0, loop: performance.eventLoopUtilization() };
  run.pause();
  run.begun.subscribe(() => say({ ready: true }));
  createInterface({ input: process.stdin }).on('line', () => {
    before = { busySeconds: nativeStatistics()?.busySeconds ?? 0, loop: performance.eventLoopUtilization() };
    began = performance.now();
    run.resume();
  });
  run.subscribe({
    next: ({ step, loss, numItems, numTokens }) => {
      const { active } = performance.eventLoopUtilization(before.loop);
      // A step settles when its loss is read; the update of the weights that follows belongs to it.
      const busy = (nativeStatistics()?.busySeconds ?? 0) - before.busySeconds;
      const seconds = (performance.now() - began) / 1000;
      run.pause();
      const overhead = { idle: Math.max(0, 1 - busy / seconds), javascript: active / 1000 / seconds };
      say({ step, seconds, ...overhead, loss, trained_tokens: numItems, tokens: numTokens, peak_bytes: peakBytes() });
    },
    error: (error) => {
      console.error(error);
      process.exit(1);
    },
    complete: () => process.exit(0),
  });
};
