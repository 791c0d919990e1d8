/** Number of single-character insertions, deletions, replacements and swaps of neighbours that turn `a` into `b`. */
export const editDistance = (a: string, b: string): number => {
  let beforePrevious: ReadonlyArray<number> = [];
  let previous: ReadonlyArray<number> = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const same = a[i - 1] === b[j - 1];
      let best = Math.min((previous[j] ?? 0) + 1, (row[j - 1] ?? 0) + 1, (previous[j - 1] ?? 0) + (same ? 0 : 1));
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) {
        best = Math.min(best, (beforePrevious[j - 2] ?? 0) + 1);
      }
      row.push(best);
    }
    beforePrevious = previous;
    previous = row;
  }
  return previous[b.length] ?? 0;
};

/** Case and word separators do not count: `learning_rate`, `learning-rate` and `learningRate` are one name. */
const folded = (name: string): string => name.replace(/[_\-\s]/g, '').toLowerCase();

/** The known names closest to `name`, the closest first: those close enough to be meant (about a third of it may differ). */
export const nearestFew = (name: string, known: Iterable<string>, most: number): ReadonlyArray<string> => {
  const wanted = folded(name);
  const bound = Math.max(2, Math.floor(wanted.length / 3));
  return [...known]
    .map((one) => ({ one, distance: editDistance(wanted, folded(one)) }))
    .filter(({ distance }) => distance <= bound)
    .sort((a, b) => a.distance - b.distance)
    .slice(0, most)
    .map(({ one }) => one);
};

/** The known name closest to `name`, or undefined when none is close enough to be meant. */
export const nearest = (name: string, known: Iterable<string>): string | undefined => nearestFew(name, known, 1)[0];

/** Whether a name is a known one but for a slip: one letter, two in the wrong order, or how its words are joined. */
export const isSlip = (name: string, known: Iterable<string>): boolean =>
  [...known].some((one) => editDistance(folded(name), folded(one)) <= 1);

/** The words of a name: `maxGradNorm` is of max, grad and norm. */
const words = (name: string): ReadonlyArray<string> =>
  name
    .split(/[_\-\s]|(?<=[a-z0-9])(?=[A-Z])/)
    .filter((word) => word.length > 1)
    .map((word) => word.toLowerCase());

/** The known names that share the most words with `name`, at most four; none where no word is shared. */
const akin = (name: string, known: Iterable<string>): ReadonlyArray<string> => {
  const wanted = new Set(words(name));
  const shared = [...known].map((one) => ({ one, count: words(one).filter((word) => wanted.has(word)).length }));
  const most = Math.max(1, ...shared.map(({ count }) => count));
  return shared.flatMap(({ one, count }) => (count === most ? [one] : [])).slice(0, 4);
};

/** A question back about a name that is not known: the one that is meant, or some of the same words; `otherwise` without either. */
export const didYouMean = (name: string, known: ReadonlyArray<string>, otherwise: string): string => {
  const meant = nearest(name, known);
  if (meant !== undefined) return `did you mean "${meant}"?`;
  const some = akin(name, known);
  return some.length === 0
    ? otherwise
    : `did you mean ${some.map((one) => `"${one}"`).join(' or ')}? Else: ${otherwise}`;
};
