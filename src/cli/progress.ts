/** Progress of long work: a bar with step, loss, tokens a second and time left; plain lines where there is no terminal. */
import { Presets, SingleBar } from 'cli-progress';
import type { StepResult } from '../records.js';

export interface Progress {
  readonly step: (result: Pick<StepResult, 'step' | 'loss' | 'numTokens'>) => void;
  /** A line of its own, above the bar. */
  readonly note: (text: string) => void;
  /** Takes the bar away; nothing is drawn after. */
  readonly stop: () => void;
}

export interface ProgressOptions {
  readonly total: number;
  readonly stream: NodeJS.WritableStream & { readonly isTTY?: boolean };
  /** Milliseconds on any clock that only goes forward. */
  readonly now?: () => number;
  /** Least milliseconds between two plain lines. */
  readonly everyMs?: number;
}

/** Seconds as a reader says them: 42 s, 3 min 20 s, 1 h 5 min. */
export const duration = (seconds: number): string => {
  const whole = Math.max(0, Math.round(seconds));
  const [hours, minutes] = [Math.floor(whole / 3600), Math.floor((whole % 3600) / 60)];
  if (hours > 0) return `${hours} h ${minutes} min`;
  return minutes > 0 ? `${minutes} min ${whole % 60} s` : `${whole} s`;
};

/** Speed over the last steps: a mean whose weights halve about every seven steps. */
const makeSpeed = (begun: number) => {
  let before = begun;
  let [seconds, tokens, steps] = [0, 0, 0];
  return (now: number, numTokens: number): { readonly tokensPerSecond: number; readonly secondsPerStep: number } => {
    const decay = 0.9;
    seconds = decay * seconds + (now - before) / 1000;
    tokens = decay * tokens + numTokens;
    steps = decay * steps + 1;
    before = now;
    return { tokensPerSecond: seconds > 0 ? tokens / seconds : 0, secondsPerStep: seconds / steps };
  };
};

export const makeProgress = ({
  total,
  stream,
  now = () => performance.now(),
  everyMs = 2000,
}: ProgressOptions): Progress => {
  const speed = makeSpeed(now());
  const bar =
    stream.isTTY === true
      ? new SingleBar(
          {
            format: '{bar} {value}/{total}  {told}',
            barsize: 24,
            hideCursor: true,
            linewrap: false,
            stream,
            etaBuffer: 1,
          },
          Presets.shades_classic,
        )
      : undefined;
  let begun = false;
  let lastLine = Number.NEGATIVE_INFINITY;
  return {
    step: ({ step, loss, numTokens }) => {
      const time = now();
      const { tokensPerSecond, secondsPerStep } = speed(time, numTokens);
      const told = `loss ${loss.toFixed(4)}  ${Math.round(tokensPerSecond)} tokens/s  ${duration((total - step) * secondsPerStep)} left`;
      if (bar === undefined) {
        if (time - lastLine < everyMs && step < total) return;
        lastLine = time;
        stream.write(`step ${step}/${total}  ${told}\n`);
      } else if (begun) bar.update(step, { told });
      else {
        begun = true;
        bar.start(total, step, { told });
      }
    },
    note: (text) => {
      if (begun && stream.isTTY === true) stream.write('\r\u001b[2K');
      stream.write(`${text}\n`);
    },
    stop: () => bar?.stop(),
  };
};
