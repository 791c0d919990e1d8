/**
 * A padded batch as the model reads it: real tokens laid end to end, documents marked, and only the positions whose next token
 * is supervised. What was padding is gone, so padding costs nothing and cannot change a loss.
 */
import type { Sequence, Targets } from '../../model/sequence.js';
import type { Batch } from '../../records.js';
import { ignoreIndex } from '../../records.js';

/** The real tokens of a batch, documents end to end, and what is supervised of them. */
export interface Unpadded {
  /** What a model reads. */
  readonly sequence: Sequence;
  /** `weights` are the loss weights the batch brought, 1 where it brought none; positions of weight 0 are left out. */
  readonly targets: Targets;
  /** [M] The batch's row each target came from, for messages about it. */
  readonly rowOfTarget: Int32Array;
  /** [M] Which token of its row, padding not counted, each target is. */
  readonly tokenOfTarget: Int32Array;
  /** Sum of the targets' weights: what a mean over them divides by. */
  readonly weight: number;
}

/**
 * The batch without its padding. A document begins at a row's first real token and wherever `positionIds` go back to 0; windows
 * packed the old way carry one running count a row and so stay one document, whose parts attend to each other.
 */
export const sequenceOf = (batch: Batch): Unpadded => {
  const [rows, columns] = batch.shape;
  const { attentionMask, lossWeights } = batch;
  let real = 0;
  for (const bit of attentionMask) real += bit;
  const inputIds = new Int32Array(real);
  const positionIds = new Int32Array(real);
  // At most a target a token; what is not used is cut off below.
  const targetRows = new Int32Array(real);
  const targetLabels = new Int32Array(real);
  const targetWeights = new Float32Array(real);
  const rowOfTarget = new Int32Array(real);
  const tokenOfTarget = new Int32Array(real);
  const starts: Array<number> = [];
  let weight = 0;
  let n = 0;
  let m = 0;
  for (let row = 0; row < rows; row++) {
    let first = true;
    let token = 0;
    for (let at = row * columns; at < (row + 1) * columns; at++) {
      if (attentionMask[at] !== 1) continue;
      token++;
      const position = batch.positionIds[at] ?? 0;
      const begins = first || position === 0;
      if (begins) starts.push(n);
      first = false;
      inputIds[n] = batch.inputIds[at] ?? 0;
      positionIds[n] = position;
      const label = batch.labels[at] ?? ignoreIndex;
      // The first token of a document has nothing before it that could predict it.
      const own = begins || label === ignoreIndex ? 0 : (lossWeights?.[at] ?? 1);
      if (own !== 0) {
        targetRows[m] = n - 1;
        targetLabels[m] = label;
        targetWeights[m] = own;
        rowOfTarget[m] = row;
        tokenOfTarget[m] = token - 1;
        weight += own;
        m++;
      }
      n++;
    }
  }
  starts.push(n);
  return {
    sequence: { inputIds, positionIds, cuSeqlens: Int32Array.from(starts) },
    targets: {
      rows: targetRows.slice(0, m),
      labels: targetLabels.slice(0, m),
      weights: targetWeights.slice(0, m),
    },
    rowOfTarget: rowOfTarget.slice(0, m),
    tokenOfTarget: tokenOfTarget.slice(0, m),
    weight,
  };
};

/** The targets with every weight multiplied, so that their weighted losses add up to a mean over more than this batch. */
export const scaleTargets = (targets: Targets, factor: number): Targets => ({
  ...targets,
  weights: targets.weights.map((weight) => weight * factor),
});
