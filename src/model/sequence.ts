/**
 * What a model reads: real tokens only, documents laid end to end. Padding never reaches a model, so a batch costs its tokens
 * and nothing else, and left or right padding cannot differ.
 */

/** N tokens of D documents. */
export interface Sequence {
  /** [N] */
  readonly inputIds: Int32Array;
  /** [N] Position of each token in its document. */
  readonly positionIds: Int32Array;
  /** [D + 1] Document d is tokens cuSeqlens[d] … cuSeqlens[d + 1] - 1; attention never crosses. */
  readonly cuSeqlens: Int32Array;
}

/** The M positions whose next token is supervised. */
export interface Targets {
  /** [M] Indices into the sequence, increasing: the hidden state there predicts `labels`. */
  readonly rows: Int32Array;
  /** [M] The id to predict (already shifted). */
  readonly labels: Int32Array;
  /** [M] Factor of each position's loss in the total; 1 / numItems everywhere for the plain token mean. */
  readonly weights: Float32Array;
}
