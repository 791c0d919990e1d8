/** Warnings and refused rows, told on standard error: a few of each kind, the rest is counted. */
import { render, type Warning } from '../errors.js';
import type { Located } from '../formats/hub/locate.js';
import type { HubSettings } from '../formats/hub/settings.js';
import type { Rejects } from '../streams/rejects.js';
import { SftConfig } from '../train/options/config.js';
import { rejectedInFlags, warningInFlags, type IsOption } from './inFlags.js';

/** Takes whole lines. */
export interface Line {
  readonly write: (line: string) => unknown;
}

const isOption: IsOption = (name) => Object.hasOwn(SftConfig.fields, name);

export const tellWarning =
  (err: Line) =>
  (warned: Warning): void => {
    err.write(`warning: ${render(warningInFlags(warned, isOption))}\n`);
  };

/** Tells the first `few` refusals of each reason. */
export const tellRejects = (rejects: Pick<Rejects, 'stream'>, err: Line, few = 3): void => {
  const told = new Map<string, number>();
  rejects.stream.subscribe(({ index, error }) => {
    const count = (told.get(error.code) ?? 0) + 1;
    told.set(error.code, count);
    const where = error.line === undefined ? `row ${index}: ` : '';
    if (count <= few) err.write(`rejected: ${where}${render(rejectedInFlags(error, isOption))}\n`);
    if (count === few + 1) err.write(`rejected: further rows with ${error.code} are counted only\n`);
  });
};

const size = (bytes: number): string =>
  bytes < 1e6
    ? `${Math.ceil(bytes / 1e3)} kB`
    : bytes < 1e9
      ? `${Math.round(bytes / 1e6)} MB`
      : `${(bytes / 1e9).toFixed(1)} GB`;

/** Says what is downloaded from the Hub, and uploaded. */
export const tellingHub = (err: Line): Partial<HubSettings> => ({
  onDownload: ({ repo, path, bytes, from }) => {
    err.write(`downloading ${repo}: ${path}, ${size(bytes)}${from === 0 ? '' : `, of which ${size(from)} are here`}\n`);
  },
  onUpload: ({ repo, path, bytes }) => {
    err.write(`uploading to ${repo}: ${path}, ${size(bytes)}\n`);
  },
});

/** Says which of two things of one name is used. */
export const tellLocated = (err: Line, { told }: Located): void => {
  err.write(`model: ${told}\n`);
};
