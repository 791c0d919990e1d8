/** Words that a tokenizer has and does not merge to. */

/** What merging makes of a word's letters, the pair of the lowest rank first. */
const merged = (word: string, ranks: ReadonlyMap<string, number>): ReadonlyArray<string> => {
  let parts = Array.from(word);
  for (;;) {
    let best = -1;
    let lowest = Infinity;
    for (let i = 0; i + 1 < parts.length; i++) {
      const rank = ranks.get(`${parts[i]} ${parts[i + 1]}`);
      if (rank !== undefined && rank < lowest) [best, lowest] = [i, rank];
    }
    if (best < 0) return parts;
    parts = [...parts.slice(0, best), `${parts[best]}${parts[best + 1]}`, ...parts.slice(best + 2)];
  }
};

/** Those of the tokens that merges, written as `left right`, do not make whole of their letters: with `ignore_merges` they are tokens still. */
export const unmerged = (tokens: ReadonlyArray<string>, merges: ReadonlyArray<string>): ReadonlyArray<string> => {
  const ranks = new Map(merges.map((pair, rank) => [pair, rank]));
  return tokens.filter((token) => merged(token, ranks).length > 1);
};
