/**
 * Unigram language model: the best path through the pieces of a word (Viterbi), as the `tokenizers` library walks it: of equal
 * scores the earliest start wins, runs of unknown characters are one token.
 */
import { byteToken } from './byteToken.js';
import { pushId } from './idBuffer.js';
import { type PieceNode, pieceTrie } from './pieceTrie.js';
import type { TokenModel } from './tokenModel.js';

export interface UnigramConfig {
  /** Piece and log probability; the index is the id. */
  readonly vocab: ReadonlyArray<readonly [string, number]>;
  readonly unkId?: number;
  readonly byteFallback: boolean;
}

/** What words are walked with. */
interface Walking {
  readonly vocab: UnigramConfig['vocab'];
  readonly root: PieceNode;
  readonly unkId: number;
  readonly unknownScore: number;
  /** Ids of a stretch that no piece fits. */
  readonly unknown: (text: string) => ReadonlyArray<number>;
}

/** Of each position of a word the best way that ends there: its score, where its last piece begins, -1 for no way, and that piece's id. */
interface Ways {
  readonly score: Float64Array;
  readonly from: Int32Array;
  readonly id: Int32Array;
}

/** A stretch of a word under one id. */
interface Piece {
  readonly id: number;
  start: number;
  readonly end: number;
}

/** Tokens of a word, and the units each stands for. */
interface Path {
  readonly ids: Int32Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

const unknownPenalty = 10;
const encoder = new TextEncoder();
const cacheCapacity = 1 << 16;
const longestCached = 256;

const offer = ({ score, from, id: ids }: Ways, at: number, end: number, id: number, candidate: number): void => {
  if ((from[end] ?? -1) >= 0 && candidate <= (score[end] ?? 0)) return;
  score[end] = candidate;
  from[end] = at;
  ids[end] = id;
};

/** The best ways to all positions of a word. A character that is no piece by itself may always be unknown. */
const waysThrough = ({ root, vocab, unkId, unknownScore }: Walking, word: string): Ways => {
  const size = word.length;
  const ways: Ways = {
    score: new Float64Array(size + 1),
    from: new Int32Array(size + 1).fill(-1),
    id: new Int32Array(size + 1),
  };
  let at = 0;
  while (at < size) {
    const here = ways.score[at] ?? 0;
    const units = (word.codePointAt(at) ?? 0) < 0x10000 ? 1 : 2;
    let single = false;
    let node: PieceNode | undefined = root;
    for (let end = at; end < size; ) {
      node = node.next.get(word.charCodeAt(end++));
      if (node === undefined) break;
      if (node.id < 0) continue;
      offer(ways, at, end, node.id, (vocab[node.id]?.[1] ?? 0) + here);
      single ||= end - at === units;
    }
    if (!single) offer(ways, at, at + units, unkId, unknownScore + here);
    at += units;
  }
  return ways;
};

/** The pieces of the best way through the whole word; unknown ones side by side are one. */
const piecesOf = ({ from, id: ids }: Ways, unkId: number): ReadonlyArray<Piece> => {
  const pieces: Array<Piece> = [];
  for (let end = from.length - 1; end > 0; ) {
    const start = from[end] ?? 0;
    const id = ids[end] ?? unkId;
    const behind = pieces.at(-1);
    if (id === unkId && behind?.id === unkId) behind.start = start;
    else pieces.push({ id, start, end });
    end = start;
  }
  return pieces.reverse();
};

const walk = (walking: Walking, word: string): Path => {
  const { unkId, unknown } = walking;
  const ids: number[] = [];
  const starts: number[] = [];
  const ends: number[] = [];
  for (const { id, start, end } of piecesOf(waysThrough(walking, word), unkId)) {
    const tokens = id === unkId ? unknown(word.slice(start, end)) : [id];
    for (const token of tokens) {
      ids.push(token);
      starts.push(start);
      ends.push(end);
    }
  }
  return { ids: Int32Array.from(ids), starts: Int32Array.from(starts), ends: Int32Array.from(ends) };
};

/** Ids of a stretch that no piece fits: of the piece that its runs together make, of its bytes if there are all of them, or `unkId`. */
const unknownStretch = (
  vocab: UnigramConfig['vocab'],
  unkId: number,
  byteFallback: boolean,
): ((text: string) => ReadonlyArray<number>) => {
  const idOfPiece = new Map(vocab.map(([piece], id) => [piece, id]));
  const byteIds = Array.from({ length: 256 }, (_, byte) => (byteFallback ? idOfPiece.get(byteToken(byte)) : undefined));
  return (text) => {
    const known = idOfPiece.get(text);
    if (known !== undefined) return [known];
    if (!byteFallback) return [unkId];
    const bytes = encoder.encode(text);
    const fallback = Array.from(bytes, (byte) => byteIds[byte]).filter((byte) => byte !== undefined);
    return fallback.length === bytes.length ? fallback : [unkId];
  };
};

/** Paths of words, those of short ones remembered. */
const remembered = (pathOf: (word: string) => Path): ((word: string) => Path) => {
  const known = new Map<string, Path>();
  return (word) => {
    const cached = known.get(word);
    if (cached !== undefined) return cached;
    const path = pathOf(word);
    if (word.length <= longestCached) {
      if (known.size >= cacheCapacity) known.clear();
      // A copy: the word is a slice, which would hold on to its whole text.
      known.set(Buffer.from(word, 'utf16le').toString('utf16le'), path);
    }
    return path;
  };
};

/** Undefined when a word could come out that has no id: no `unk` and no byte fallback. */
export const unigram = ({ vocab, unkId, byteFallback }: UnigramConfig): TokenModel | undefined => {
  if (unkId === undefined || unkId < 0 || unkId >= vocab.length) return undefined;
  const walking: Walking = {
    vocab,
    root: pieceTrie(vocab.map(([piece]) => piece)),
    unkId,
    unknownScore: vocab.reduce((smallest, [, score]) => Math.min(smallest, score), Infinity) - unknownPenalty,
    unknown: unknownStretch(vocab, unkId, byteFallback),
  };
  const pathOf = remembered((word) => walk(walking, word));
  return {
    encode: ({ text }, from, to, out) => {
      for (const id of pathOf(text.slice(from, to)).ids) pushId(out, id);
    },
    spans: ({ text }, from, to, _out, _first, sink) => {
      const { starts, ends } = pathOf(text.slice(from, to));
      starts.forEach((start, i) => {
        sink(from + start, from + (ends[i] ?? 0));
      });
    },
  };
};
