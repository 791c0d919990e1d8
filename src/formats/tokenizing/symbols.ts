/** The ids of the word at hand: one buffer for all BPE models of a thread, used again for every word. */
export let symbols = new Int32Array(256);

/** Makes room for the ids of a word. */
export const reserve = (count: number): void => {
  if (symbols.length < count) symbols = new Int32Array(count * 2);
};
