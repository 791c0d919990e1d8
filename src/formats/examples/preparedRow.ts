/** A prepared row as a line of JSON, with the column names of transformers. */
import { ignoreIndex, type Labelled } from '../../records.js';

/** Positions of the row's tokens, counted from 0 in each document. */
const positionIds = ({ inputIds, seqLengths }: Labelled): Int32Array => {
  const positions = new Int32Array(inputIds.length);
  let at = 0;
  for (const length of seqLengths) for (let t = 0; t < length; t++) positions[at++] = t;
  return positions;
};

/** In a row of several documents nothing predicts a document's first token, so those labels go. */
const labelsOf = ({ labels, seqLengths }: Labelled): Int32Array => {
  if (seqLengths.length === 1) return labels;
  const kept = labels.slice();
  let at = 0;
  for (const length of seqLengths) {
    if (length > 0) kept[at] = ignoreIndex;
    at += length;
  }
  return kept;
};

/** `input_ids`, `labels`, `attention_mask` (all ones: nothing is padded) and `position_ids`; `loss_weights` where there are any. */
export const encodePreparedRow = (row: Labelled): string => {
  const { inputIds, lossWeights } = row;
  const weights = lossWeights === undefined ? '' : `,"loss_weights":[${lossWeights.join()}]`;
  const ones = new Uint8Array(inputIds.length).fill(1);
  return `{"input_ids":[${inputIds.join()}],"labels":[${labelsOf(row).join()}],"attention_mask":[${ones.join()}],"position_ids":[${positionIds(row).join()}]${weights}}`;
};
