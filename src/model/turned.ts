/** Row-major values of a matrix [rows, columns] as those of the matrix turned round, [columns, rows]. */
export const turned = (values: Float32Array, [rows, columns]: readonly [number, number]): Float32Array => {
  const result = new Float32Array(values.length);
  for (let row = 0; row < rows; row++)
    for (let column = 0; column < columns; column++) result[column * rows + row] = values[row * columns + column] ?? 0;
  return result;
};
