/** The ids of the word at hand: one buffer for all BPE models of a thread, used again for every word. */
let buffer = new Int32Array(256);

/** It, with room for so many ids. */
export const symbolsFor = (count: number): Int32Array => {
  if (buffer.length < count) buffer = new Int32Array(count * 2);
  return buffer;
};

/** It, as the last word left it. */
export const lastSymbols = (): Int32Array => buffer;
