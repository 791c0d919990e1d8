/**
 * How Phi-3.5-MoE weighs a token's experts (SparseMixer, Liu, Gao & Chen 2024, arXiv 2409.12136, without its sampling): each by a softmax
 * of its own, over the experts that come close to it.
 */

interface Mixer {
  readonly numExperts: number;
  /** Experts a token, k. */
  readonly perToken: number;
  /** How far below a chosen logit others may lie to take part: as a share of the greater of it and their own size. */
  readonly tolerance: number;
}

/**
 * Of logits [N·E] and the experts chosen by them, the likeliest first, [N·k]: what each expert has of the softmax that a chosen one is
 * weighed by, [N·k·E]. Those that were chosen before it have no part in it.
 */
export const mixerShares = (
  logits: Float32Array,
  chosen: Int32Array,
  { numExperts, perToken, tolerance }: Mixer,
): Float32Array => {
  const shares = new Float32Array(chosen.length * numExperts);
  for (let at = 0; at < chosen.length; at++) {
    const token = Math.floor(at / perToken);
    const from = token * numExperts;
    const before = chosen.subarray(token * perToken, at);
    const best = logits[from + (chosen[at] ?? 0)] ?? NaN;
    let sum = 0;
    for (let e = 0; e < numExperts; e++) {
      const logit = logits[from + e] ?? NaN;
      const isFar = (best - logit) / Math.max(Math.abs(logit), best) > tolerance;
      const part = isFar || before.includes(e) ? 0 : Math.exp(logit - best);
      shares[at * numExperts + e] = part;
      sum += part;
    }
    for (let e = 0; e < numExperts; e++) shares[at * numExperts + e] = (shares[at * numExperts + e] ?? NaN) / sum;
  }
  return shares;
};
