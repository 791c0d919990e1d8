/** Token ids that both sides of a bench are given. */

/** `count` rows of `length` ids below `vocabSize`, the same on every machine (a linear congruential generator). */
export const tokenRows = (count, length, vocabSize) => {
  let state = 12345;
  return Array.from({ length: count }, () =>
    Array.from({ length }, () => {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      return (state >>> 4) % vocabSize;
    }),
  );
};
