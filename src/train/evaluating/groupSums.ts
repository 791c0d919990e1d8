/** What the trained tokens of one group of them come to: a row, a role, a file, all. */

/** What the trained tokens of one role, or from one file, came to. */
export interface GroupEvaluation {
  /** Mean in nats. */
  readonly loss: number;
  /** exp(loss) */
  readonly perplexity: number;
  /** Share of trained tokens that the model ranked first. */
  readonly meanTokenAccuracy: number;
  /** Trained tokens. */
  readonly numTokens: number;
}

/** Numbers by role, or by file. */
export type Groups = Readonly<Record<string, GroupEvaluation>>;

/** Weighted sums over trained tokens. */
export interface GroupSums {
  loss: number;
  weight: number;
  correct: number;
  items: number;
}

export const noSums = (): GroupSums => ({ loss: 0, weight: 0, correct: 0, items: 0 });

export const addTo = (sums: GroupSums, loss: number, weight: number, correct: number): void => {
  sums.loss += loss * weight;
  sums.weight += weight;
  sums.correct += correct;
  sums.items += 1;
};

export const meanLoss = ({ loss, weight }: GroupSums): number => (weight === 0 ? 0 : loss / weight);

export const groupOf = (sums: GroupSums): GroupEvaluation => ({
  loss: meanLoss(sums),
  perplexity: Math.exp(meanLoss(sums)),
  meanTokenAccuracy: sums.items === 0 ? 0 : sums.correct / sums.items,
  numTokens: sums.items,
});

/** The sums of a group, begun where there are none yet. */
export const sumsAt = (groups: Map<number, GroupSums>, number: number): GroupSums => {
  const found = groups.get(number) ?? noSums();
  groups.set(number, found);
  return found;
};

/** The groups under their names; tokens of number 0 under `rest`, or left out where there is no such name. */
export const namedGroups = (
  groups: ReadonlyMap<number, GroupSums>,
  nameOf: (number: number) => string | undefined,
  rest?: string,
): Groups =>
  Object.fromEntries(
    Array.from(groups).flatMap(([number, sums]): Array<[string, GroupEvaluation]> => {
      const name = nameOf(number) ?? rest;
      return name === undefined ? [] : [[name, groupOf(sums)]];
    }),
  );
