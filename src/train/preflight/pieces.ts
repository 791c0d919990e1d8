/** The text of each token, so that joined they are the decoded text: unfinished characters stand with their last token. */
export const piecesOf = (
  ids: ArrayLike<number>,
  decode: (ids: ReadonlyArray<number>) => string,
): ReadonlyArray<string> => {
  const all = Array.from(ids);
  const pieces: Array<string> = [];
  let from = 0;
  let told = '';
  for (let i = 0; i < all.length; i++) {
    const whole = decode(all.slice(from, i + 1));
    const settled = i + 1 < all.length && whole.endsWith('\ufffd');
    // A decoder may rewrite what stands before (spaces cleaned up): then the token is shown by itself.
    const piece = settled ? '' : whole.startsWith(told) ? whole.slice(told.length) : decode(all.slice(i, i + 1));
    pieces.push(piece);
    if (settled && i - from < 24) continue;
    told = whole;
    if (i - from >= 16) {
      from = i;
      told = decode(all.slice(i, i + 1));
    }
  }
  return pieces;
};
