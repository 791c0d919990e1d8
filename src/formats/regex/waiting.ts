/** Ways that wait to be tried, the last one first: a stack of three numbers each. It is used again for every text. */
export interface Waiting {
  values: Int32Array;
  length: number;
}

export const makeWaiting = (): Waiting => ({ values: new Int32Array(96), length: 0 });

/** A way that goes on at an instruction and a position; `trail` is what led there. */
export const push = (waiting: Waiting, pc: number, position: number, trail: number): void => {
  if (waiting.length + 3 > waiting.values.length) {
    const larger = new Int32Array(waiting.values.length * 2);
    larger.set(waiting.values);
    waiting.values = larger;
  }
  waiting.values[waiting.length++] = pc;
  waiting.values[waiting.length++] = position;
  waiting.values[waiting.length++] = trail;
};

/** The number that was pushed last; of a way they come the other way round: `trail`, `position`, `pc`. */
export const pop = (waiting: Waiting): number => waiting.values[--waiting.length] ?? 0;
