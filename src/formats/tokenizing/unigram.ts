/**
 * Unigram language model: the best path through the pieces of a word (Viterbi), as the `tokenizers` library walks it: of equal
 * scores the earliest start wins, runs of unknown characters are one token.
 */
import { byteToken } from './bpe.js';
import { pushId } from './idBuffer.js';
import type { TokenModel } from './tokenModel.js';

export interface UnigramConfig {
  /** Piece and log probability; the index is the id. */
  readonly vocab: ReadonlyArray<readonly [string, number]>;
  readonly unkId?: number;
  readonly byteFallback: boolean;
}

interface Node {
  readonly next: Map<number, Node>;
  id: number;
}

interface Path {
  readonly ids: Int32Array;
  readonly starts: Int32Array;
  readonly ends: Int32Array;
}

const unknownPenalty = 10;
const encoder = new TextEncoder();
const cacheCapacity = 1 << 16;
const longestCached = 256;

/** Undefined when a word could come out that has no id: no `unk` and no byte fallback. */
export const unigram = ({ vocab, unkId, byteFallback }: UnigramConfig): TokenModel | undefined => {
  if (unkId === undefined || unkId < 0 || unkId >= vocab.length) return undefined;
  const root: Node = { next: new Map(), id: -1 };
  let smallest = Infinity;
  vocab.forEach(([piece, score], id) => {
    smallest = Math.min(smallest, score);
    let node = root;
    for (let i = 0; i < piece.length; i++) {
      const unit = piece.charCodeAt(i);
      let next = node.next.get(unit);
      if (next === undefined) {
        next = { next: new Map(), id: -1 };
        node.next.set(unit, next);
      }
      node = next;
    }
    node.id = id;
  });
  root.id = -1;
  const unknownScore = smallest - unknownPenalty;
  const idOfPiece = new Map(vocab.map(([piece], id) => [piece, id]));
  const byteIds = Array.from({ length: 256 }, (_, byte) => (byteFallback ? idOfPiece.get(byteToken(byte)) : undefined));

  const walk = (word: string): Path => {
    const size = word.length;
    const score = new Float64Array(size + 1);
    const from = new Int32Array(size + 1).fill(-1);
    const idAt = new Int32Array(size + 1);
    const offer = (at: number, end: number, id: number, candidate: number): void => {
      if ((from[end] ?? -1) >= 0 && candidate <= (score[end] ?? 0)) return;
      score[end] = candidate;
      from[end] = at;
      idAt[end] = id;
    };
    let at = 0;
    while (at < size) {
      const here = score[at] ?? 0;
      const units = (word.codePointAt(at) ?? 0) < 0x10000 ? 1 : 2;
      let single = false;
      let node: Node | undefined = root;
      for (let end = at; end < size; ) {
        node = node.next.get(word.charCodeAt(end++));
        if (node === undefined) break;
        if (node.id < 0) continue;
        offer(at, end, node.id, (vocab[node.id]?.[1] ?? 0) + here);
        single ||= end - at === units;
      }
      if (!single) offer(at, at + units, unkId, unknownScore + here);
      at += units;
    }
    const pieces: { id: number; start: number; end: number }[] = [];
    for (let end = size; end > 0; ) {
      const start = from[end] ?? 0;
      const id: number = idAt[end] ?? unkId;
      const behind = pieces.at(-1);
      if (id === unkId && behind?.id === unkId) behind.start = start;
      else pieces.push({ id, start, end });
      end = start;
    }
    pieces.reverse();
    const ids: number[] = [];
    const starts: number[] = [];
    const ends: number[] = [];
    for (const { id, start, end } of pieces) {
      let tokens: ReadonlyArray<number> = [id];
      if (id === unkId) {
        const text = word.slice(start, end);
        const known = idOfPiece.get(text);
        if (known !== undefined) {
          tokens = [known];
        } else if (byteFallback) {
          const bytes = encoder.encode(text);
          const fallback = Array.from(bytes, (byte) => byteIds[byte]).filter((byte) => byte !== undefined);
          if (fallback.length === bytes.length) tokens = fallback;
        }
      }
      for (const token of tokens) {
        ids.push(token);
        starts.push(start);
        ends.push(end);
      }
    }
    return { ids: Int32Array.from(ids), starts: Int32Array.from(starts), ends: Int32Array.from(ends) };
  };

  const known = new Map<string, Path>();
  const pathOf = (word: string): Path => {
    const cached = known.get(word);
    if (cached !== undefined) return cached;
    const path = walk(word);
    if (word.length <= longestCached) {
      if (known.size >= cacheCapacity) known.clear();
      known.set(Buffer.from(word, 'utf16le').toString('utf16le'), path);
    }
    return path;
  };
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
