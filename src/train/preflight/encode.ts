/** The report as JSON. */
import type { Preflight } from './preflight.js';

/** Columns of the rows shown under the names that prepared rows have on disk. */
export const encodePreflight = ({ samples, ...report }: Preflight): Readonly<Record<string, unknown>> => ({
  ...report,
  samples: samples.map(({ title, row: { inputIds, labels, seqLengths, lossWeights } }) => ({
    title,
    input_ids: [...inputIds],
    labels: [...labels],
    seq_lengths: seqLengths,
    ...(lossWeights === undefined ? {} : { loss_weights: [...lossWeights] }),
  })),
});
