/** Pieces of a vocabulary by their UTF-16 units, one unit a step. */
export interface PieceNode {
  readonly next: Map<number, PieceNode>;
  /** Of the piece that ends here, -1 for none; of pieces spelt alike the last. */
  id: number;
}

const childOf = ({ next }: PieceNode, unit: number): PieceNode => {
  const known = next.get(unit);
  if (known !== undefined) return known;
  const made: PieceNode = { next: new Map(), id: -1 };
  next.set(unit, made);
  return made;
};

/** The node that all pieces begin at. The id of a piece is its index; the empty one is left out. */
export const pieceTrie = (pieces: Iterable<string>): PieceNode => {
  const root: PieceNode = { next: new Map(), id: -1 };
  let id = 0;
  for (const piece of pieces) {
    let node = root;
    for (let i = 0; i < piece.length; i++) node = childOf(node, piece.charCodeAt(i));
    node.id = id++;
  }
  root.id = -1;
  return root;
};
