/** A growing list of 32-bit integers. */
export interface IdBuffer {
  readonly push: (id: number) => void;
  readonly pushAll: (ids: Int32Array) => void;
  readonly length: () => number;
  readonly at: (index: number) => number;
  readonly clear: () => void;
  /** A copy of what was pushed. */
  readonly take: () => Int32Array;
}

export const makeIdBuffer = (): IdBuffer => {
  let data = new Int32Array(4096);
  let length = 0;
  const reserve = (extra: number): void => {
    if (length + extra <= data.length) return;
    const grown = new Int32Array(Math.max(data.length * 2, length + extra));
    grown.set(data);
    data = grown;
  };
  return {
    push: (id) => {
      if (length === data.length) reserve(1);
      data[length++] = id;
    },
    pushAll: (ids) => {
      reserve(ids.length);
      for (const id of ids) data[length++] = id;
    },
    length: () => length,
    at: (index) => data[index] ?? 0,
    clear: () => {
      length = 0;
    },
    take: () => data.slice(0, length),
  };
};
