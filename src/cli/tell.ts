/** Warnings and refused rows, told on standard error: a few of each kind, the rest is counted. */
import { render, type Warning } from '../errors.js';
import type { Rejects } from '../streams/rejects.js';

/** Takes whole lines. */
export interface Line {
  readonly write: (line: string) => unknown;
}

export const tellWarning =
  (err: Line) =>
  (warned: Warning): void => {
    err.write(`warning: ${render(warned)}\n`);
  };

/** Tells the first `few` refusals of each reason. */
export const tellRejects = (rejects: Pick<Rejects, 'stream'>, err: Line, few = 3): void => {
  const told = new Map<string, number>();
  rejects.stream.subscribe(({ index, error }) => {
    const count = (told.get(error.code) ?? 0) + 1;
    told.set(error.code, count);
    const where = error.line === undefined ? `row ${index}: ` : '';
    if (count <= few) err.write(`rejected: ${where}${render(error)}\n`);
    if (count === few) err.write(`rejected: further rows with ${error.code} are counted only\n`);
  });
};
