/** Tables are as long as the highest id: a file that says more than any model has asks for more memory than it holds. */
const mostTokens = 1 << 24;

export const isTokenId = (id: unknown): id is number =>
  typeof id === 'number' && Number.isInteger(id) && id >= 0 && id < mostTokens;
