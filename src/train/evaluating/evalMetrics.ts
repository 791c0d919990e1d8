/** The numbers of an evaluation under the names that metricForBestModel and logs know. */
import { basename } from 'node:path';
import type { Sample } from '../generating/samples.js';
import type { Evaluated } from './evaluate.js';
import type { Groups } from './groupSums.js';

/** A name as part of a metric's: letters, digits, dots and dashes stay. */
const wordOf = (name: string): string => name.replace(/[^\w.-]+/g, '_');

/** The last part of a path where that tells the files apart, else the path. */
const shortNames = (paths: ReadonlyArray<string>): ReadonlyArray<string> => {
  const last = paths.map((path) => basename(path));
  return new Set(last).size === last.length ? last : paths;
};

/** Losses of the groups under `role_…_loss` or `source_…_loss`. */
const groupMetrics = (kind: 'role' | 'source', groups: Groups): ReadonlyArray<readonly [string, number]> => {
  const names = shortNames(Object.keys(groups));
  return Object.values(groups).map(({ loss }, i) => [`${kind}_${wordOf(names[i] ?? '')}_loss`, loss] as const);
};

const snake = (name: string): string => name.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

/** The numbers of an evaluation under the names that transformers gives them. */
export const metricsOf = (
  name: string,
  { loss, tokenLoss, perplexity, meanTokenAccuracy, entropy, auxLoss, roles, sources }: Omit<Evaluated, 'predictions'>,
  samples: ReadonlyArray<Sample>,
  own: Readonly<Record<string, number>>,
): Readonly<Record<string, number>> => {
  const share = (holds: (sample: Sample) => boolean): number => samples.filter(holds).length / samples.length;
  // Of one file there is nothing to compare.
  const files = Object.keys(sources).length > 1 ? groupMetrics('source', sources) : [];
  const prefix = name === '' ? 'eval_' : `eval_${name}_`;
  const numbers = {
    loss,
    tokenLoss,
    perplexity,
    meanTokenAccuracy,
    entropy,
    ...(auxLoss === undefined ? {} : { auxLoss }),
  };
  return Object.fromEntries([
    ...Object.entries(numbers).map(([key, value]): [string, number] => [`${prefix}${snake(key)}`, value]),
    ...[...groupMetrics('role', roles), ...files].map(([key, value]): [string, number] => [`${prefix}${key}`, value]),
    ...(samples.length === 0
      ? []
      : ([
          [`${prefix}stop_rate`, share(({ stopped }) => stopped)],
          [`${prefix}exact_match`, share(({ exact }) => exact)],
        ] as const)),
    ...Object.entries(own).map(([key, value]): [string, number] => [
      key.startsWith('eval_') ? key : `${prefix}${key}`,
      value,
    ]),
  ]);
};
