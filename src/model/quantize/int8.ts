/** Weights in 8 bits a row, as bitsandbytes' LLM.int8 keeps them (Dettmers et al. 2022). */

/** Rows in 8 bits: value = code · scale of its row / 127. */
export interface Int8Rows {
  readonly kind: 'int8';
  /** [rows, columns] = [outputs, inputs] */
  readonly shape: readonly [number, number];
  readonly codes: Int8Array;
  /** Largest magnitude of each row (bitsandbytes' SCB). */
  readonly scale: Float32Array;
}

/** To the nearest whole number, a half to the even one. */
export const roundHalfToEven = (x: number): number => {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return rest < 0.5 ? low : low + 1;
  return low % 2 === 0 ? low : low + 1;
};

/** Codes of a row at a given scale; a row of zeros has codes 0. */
const encodeRow = (values: Float32Array, start: number, columns: number, scale: number, codes: Int8Array): void => {
  const divisor = scale === 0 ? 1 : scale;
  for (let i = start; i < start + columns; i++)
    codes[i] = roundHalfToEven(Math.fround(Math.fround((values[i] ?? 0) * 127) / divisor));
};

/** Codes of values at scales that are known: those that they were made from, if they were. */
export const int8Codes = (
  values: Float32Array,
  [rows, columns]: readonly [number, number],
  scale: Float32Array,
): Int8Array => {
  const codes = new Int8Array(rows * columns);
  for (let row = 0; row < rows; row++) encodeRow(values, row * columns, columns, scale[row] ?? 0, codes);
  return codes;
};

/** The values [rows, columns] in 8 bits, row by row: scale = max |w| of the row, code = round(127 · w / scale), half to even. */
export const quantizeInt8 = (values: Float32Array, shape: readonly [number, number]): Int8Rows => {
  const [rows, columns] = shape;
  const scale = new Float32Array(rows);
  for (let row = 0; row < rows; row++) {
    let top = 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) top = Math.max(top, Math.abs(values[i] ?? 0));
    scale[row] = top;
  }
  return { kind: 'int8', shape, codes: int8Codes(values, shape, scale), scale };
};

/** What a code of each row is worth: scale / 127. */
export const int8Units = (scale: Float32Array): Float32Array => scale.map((top) => top / 127);

/** The values of int8 rows, row-major `[rows, columns]`: each code times its row's scale / 127. */
export const dequantizeInt8 = ({ shape: [rows, columns], codes, scale }: Int8Rows): Float32Array => {
  const values = new Float32Array(rows * columns);
  const units = int8Units(scale);
  for (let row = 0; row < rows; row++) {
    const unit = units[row] ?? 0;
    for (let i = row * columns; i < (row + 1) * columns; i++) values[i] = (codes[i] ?? 0) * unit;
  }
  return values;
};
