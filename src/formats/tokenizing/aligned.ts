/**
 * A text that remembers where in the original each of its UTF-16 units came from, through everything a normaliser does.
 *
 * A character of several units, and every character that a normaliser put in, carries the whole range of the original
 * character(s) it stands for: a token that holds part of a character covers all of it. What is inserted in front of a text
 * takes the place of the text's first character, as in the `tokenizers` library.
 */
export interface Aligned {
  readonly text: string;
  /** Position of `text` in the original; used only while `starts` and `ends` are absent (a verbatim piece). */
  readonly base: number;
  /** Per unit of `text`: start of its original range. Absent in a verbatim piece, and when nobody asked for offsets. */
  readonly starts?: Int32Array;
  readonly ends?: Int32Array;
  /** False: offsets are not wanted, so positions need not be kept. */
  readonly tracked: boolean;
  /** Whether the text begins where the original begins. */
  readonly first: boolean;
}

/** An untouched piece of the original, from `base` on. */
export const verbatim = (text: string, base: number, tracked: boolean): Aligned => ({
  text,
  base,
  tracked,
  first: base === 0,
});

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** Original start of the character at unit `i`. */
export const startOf = (aligned: Aligned, i: number): number => {
  if (aligned.starts !== undefined) return aligned.starts[i] ?? 0;
  return aligned.base + (i > 0 && isLowSurrogate(aligned.text.charCodeAt(i)) ? i - 1 : i);
};

/** Original end of the character at unit `i`. */
export const endOf = (aligned: Aligned, i: number): number => {
  if (aligned.ends !== undefined) return aligned.ends[i] ?? 0;
  return aligned.base + (isHighSurrogate(aligned.text.charCodeAt(i)) ? i + 2 : i + 1);
};

/** The piece [from, to) of an aligned text. */
export const sliceAligned = (aligned: Aligned, from: number, to: number): Aligned => {
  if (from === 0 && to === aligned.text.length) return aligned;
  const text = aligned.text.slice(from, to);
  const first = aligned.first && from === 0;
  if (!aligned.tracked) return { text, base: 0, tracked: false, first };
  if (aligned.starts === undefined || aligned.ends === undefined) {
    return { text, base: aligned.base + from, tracked: true, first };
  }
  return {
    text,
    base: 0,
    tracked: true,
    first,
    starts: aligned.starts.subarray(from, to),
    ends: aligned.ends.subarray(from, to),
  };
};

/** `[from, to)` of the old text becomes `text`. Edits come in order and do not overlap. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/**
 * The text after some edits. What an edit puts in covers all that it took out; what it puts in without taking anything out
 * takes the place of the character behind it (of the one before, at the end).
 */
export const applyEdits = (aligned: Aligned, edits: ReadonlyArray<Edit>): Aligned => {
  if (edits.length === 0) return aligned;
  const { text } = aligned;
  let result = '';
  let at = 0;
  for (const edit of edits) {
    result += text.slice(at, edit.from) + edit.text;
    at = edit.to;
  }
  result += text.slice(at);
  const { first } = aligned;
  if (!aligned.tracked) return { text: result, base: 0, tracked: false, first };
  const starts = new Int32Array(result.length);
  const ends = new Int32Array(result.length);
  let out = 0;
  const copy = (from: number, to: number): void => {
    for (let i = from; i < to; i++, out++) {
      starts[out] = startOf(aligned, i);
      ends[out] = endOf(aligned, i);
    }
  };
  at = 0;
  for (const edit of edits) {
    copy(at, edit.from);
    const inserted = edit.from === edit.to;
    const head = inserted && edit.from === text.length ? edit.from - 1 : edit.from;
    const last = inserted ? head : edit.to - 1;
    const start = text.length === 0 ? aligned.base : startOf(aligned, head);
    const end = text.length === 0 ? aligned.base : endOf(aligned, last);
    for (let i = 0; i < edit.text.length; i++, out++) {
      starts[out] = start;
      ends[out] = end;
    }
    at = edit.to;
  }
  copy(at, text.length);
  return { text: result, base: 0, tracked: true, first, starts, ends };
};
