import { describe, expect, test } from '@jest/globals';
import { PassThrough } from 'node:stream';
import { duration, makeProgress } from '../../src/cli/progress.js';

describe('progress', () => {
  test('away from a terminal: plain lines with step, loss, speed and time left', () => {
    const stream = new PassThrough();
    let clock = 0;
    const progress = makeProgress({ total: 4, stream, now: () => clock, everyMs: 0 });
    for (const step of [1, 2, 3, 4]) {
      clock += 500;
      progress.step({ step, loss: 2 - step / 4, numTokens: 100 });
    }
    progress.stop();
    expect(String(stream.read())).toBe(
      'step 1/4  loss 1.7500  200 tokens/s  2 s left\n' +
        'step 2/4  loss 1.5000  200 tokens/s  1 s left\n' +
        'step 3/4  loss 1.2500  200 tokens/s  1 s left\n' +
        'step 4/4  loss 1.0000  200 tokens/s  0 s left\n',
    );
  });

  test('lines come no oftener than asked, but the last one comes', () => {
    const stream = new PassThrough();
    let clock = 0;
    const progress = makeProgress({ total: 10, stream, now: () => clock, everyMs: 2000 });
    for (let step = 1; step <= 10; step++) {
      clock += 500;
      progress.step({ step, loss: 1, numTokens: 1 });
    }
    const steps = String(stream.read()).match(/^step \d+/gm);
    expect(steps).toEqual(['step 1', 'step 5', 'step 9', 'step 10']);
  });

  test('on a terminal: one bar, redrawn in place', () => {
    const stream = Object.assign(new PassThrough(), { isTTY: true, columns: 100, cursorTo: () => undefined });
    const progress = makeProgress({ total: 2, stream });
    progress.step({ step: 1, loss: 1.5, numTokens: 10 });
    progress.step({ step: 2, loss: 1.25, numTokens: 10 });
    progress.stop();
    const drawn = String(stream.read());
    expect(drawn).toContain('2/2');
    expect(drawn).toContain('loss 1.2500');
  });

  test.each([
    [0.2, '0 s'],
    [59.4, '59 s'],
    [200, '3 min 20 s'],
    [3900, '1 h 5 min'],
    [-3, '0 s'],
  ])('%d seconds are said %j', (seconds, said) => {
    expect(duration(seconds)).toBe(said);
  });
});
