/** A growing list of 32-bit integers. The fields are open so that the inner loops pay nothing for them. */
export interface IdBuffer {
  data: Int32Array;
  length: number;
}

export const makeIdBuffer = (): IdBuffer => ({ data: new Int32Array(4096), length: 0 });

const grow = (buffer: IdBuffer): void => {
  const grown = new Int32Array(buffer.data.length * 2);
  grown.set(buffer.data);
  buffer.data = grown;
};

export const pushId = (buffer: IdBuffer, id: number): void => {
  if (buffer.length === buffer.data.length) grow(buffer);
  buffer.data[buffer.length++] = id;
};

/** A copy of what was pushed. */
export const takeIds = (buffer: IdBuffer): Int32Array => buffer.data.slice(0, buffer.length);
