/**
 * A padded batch as the model reads it: real tokens laid end to end, documents marked, and only the positions whose next token
 * is supervised. What was padding is gone, so padding costs nothing and cannot change a loss.
 */
import type { Sequence, Targets } from '../../model/sequence.js';
import type { Batch } from '../../records.js';
import { ignoreIndex } from '../../records.js';

/** The real tokens of a batch, documents end to end, and what is supervised of them. */
export interface Unpadded {
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
  const real = batch.attentionMask.reduce((sum, bit) => sum + bit, 0);
  const inputIds = new Int32Array(real);
  const positionIds = new Int32Array(real);
  const starts: Array<number> = [];
  const targetRows: Array<number> = [];
  const targetLabels: Array<number> = [];
  const targetWeights: Array<number> = [];
  const rowOfTarget: Array<number> = [];
  const tokenOfTarget: Array<number> = [];
  let weight = 0;
  let n = 0;
  for (let row = 0; row < rows; row++) {
    let first = true;
    let token = 0;
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      if (batch.attentionMask[at] !== 1) continue;
      token++;
      const position = batch.positionIds[at] ?? 0;
      const begins = first || position === 0;
      if (begins) starts.push(n);
      first = false;
      inputIds[n] = batch.inputIds[at] ?? 0;
      positionIds[n] = position;
      const label = batch.labels[at] ?? ignoreIndex;
      // The first token of a document has nothing before it that could predict it.
      if (!begins && label !== ignoreIndex) {
        const own = batch.lossWeights?.[at] ?? 1;
        if (own !== 0) {
          targetRows.push(n - 1);
          targetLabels.push(label);
          targetWeights.push(own);
          rowOfTarget.push(row);
          tokenOfTarget.push(token - 1);
          weight += own;
        }
      }
      n++;
    }
  }
  starts.push(n);
  return {
    sequence: { inputIds, positionIds, cuSeqlens: Int32Array.from(starts) },
    targets: {
      rows: Int32Array.from(targetRows),
      labels: Int32Array.from(targetLabels),
      weights: Float32Array.from(targetWeights),
    },
    rowOfTarget: Int32Array.from(rowOfTarget),
    tokenOfTarget: Int32Array.from(tokenOfTarget),
    weight,
  };
};

/** The targets with every weight multiplied, so that their weighted losses add up to a mean over more than this batch. */
export const scaleTargets = (targets: Targets, factor: number): Targets => ({
  ...targets,
  weights: targets.weights.map((weight) => weight * factor),
});
