/** What is told when a run is asked to stop, and asked again. */
import { afterEach, expect, jest, test } from '@jest/globals';
import { onSignals } from '../../src/cli/signals.js';

afterEach(() => void jest.restoreAllMocks());

test('the second signal ends the process, and says what is left to go on from', () => {
  const exit = jest.spyOn(process, 'exit').mockImplementation((() => undefined) as never);
  const told: Array<string> = [];
  let stops = 0;
  const stop = (): void => {
    stops += 1;
  };
  const release = onSignals({ write: (text) => told.push(text) }, stop);
  process.emit('SIGINT', 'SIGINT');
  expect([stops, told.length, exit.mock.calls.length]).toEqual([1, 1, 0]);
  process.emit('SIGINT', 'SIGINT');
  release();
  expect(exit).toHaveBeenCalledWith(1);
  expect(told[1]).toContain('stopped at once; a run goes on from its last checkpoint');
});
