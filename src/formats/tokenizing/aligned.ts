/**
 * A text that remembers where in the original each of its UTF-16 units came from, through everything a normaliser does.
 *
 * A character of several units, and every character that a normaliser put in, carries the whole range of the original
 * character(s) it stands for: a token that holds part of a character covers all of it. What is inserted in front of a text
 * takes the place of the text's first character, as in the `tokenizers` library.
 */
export interface Aligned {
  readonly text: string;
  /** False: offsets are not wanted, so positions need not be kept. */
  readonly tracked: boolean;
  /** Whether the text begins where the original begins. */
  readonly first: boolean;
  /**
   * While `starts` and `ends` are absent: the text is `inserted` units put in front, then a piece of the original, unit for
   * unit, from `base` on.
   */
  readonly base: number;
  readonly inserted: number;
  /** Per unit of `text`: its original range. */
  readonly starts?: Int32Array;
  readonly ends?: Int32Array;
}

/** An untouched piece of the original, from `base` on. */
export const verbatim = (text: string, base: number, tracked: boolean): Aligned => ({
  text,
  tracked,
  first: base === 0,
  base,
  inserted: 0,
});

const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;
const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** Original start of the character at unit `i`. */
export const startOf = ({ text, base, inserted, starts }: Aligned, i: number): number => {
  if (starts !== undefined) return starts[i] ?? 0;
  if (i < inserted) return base;
  return base + i - inserted - (i > inserted && isLowSurrogate(text.charCodeAt(i)) ? 1 : 0);
};

/** Original end of the character at unit `i`. */
export const endOf = ({ text, base, inserted, ends }: Aligned, i: number): number => {
  if (ends !== undefined) return ends[i] ?? 0;
  const at = Math.max(i, inserted);
  return base + at - inserted + (isHighSurrogate(text.charCodeAt(at)) ? 2 : 1);
};

/** The piece [from, to) of an aligned text. */
export const sliceAligned = (aligned: Aligned, from: number, to: number): Aligned => {
  if (from === 0 && to === aligned.text.length) return aligned;
  const { tracked, inserted, starts, ends } = aligned;
  return {
    text: aligned.text.slice(from, to),
    tracked,
    first: aligned.first && from === 0,
    base: aligned.base + Math.max(0, from - inserted),
    inserted: Math.max(0, inserted - from),
    ...(starts === undefined || ends === undefined
      ? {}
      : { starts: starts.subarray(from, to), ends: ends.subarray(from, to) }),
  };
};

/** The same number of units in every place, so that positions stay. */
export const respell = (aligned: Aligned, text: string): Aligned => ({ ...aligned, text });

/** `[from, to)` of the old text becomes `text`. Edits come in order and do not overlap. */
export interface Edit {
  readonly from: number;
  readonly to: number;
  readonly text: string;
}

/** `prefix` in front of a text that is not empty. */
export const prepend = (aligned: Aligned, prefix: string): Aligned => {
  const { text, starts } = aligned;
  if (text === '') return aligned;
  if (starts !== undefined) return applyEdits(aligned, [{ from: 0, to: 0, text: prefix }]);
  return { ...aligned, text: prefix + text, inserted: aligned.inserted + prefix.length };
};

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
  if (!aligned.tracked || text === '') return respell(aligned, result);
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
    const inserting = edit.from === edit.to;
    const head = inserting && edit.from === text.length ? edit.from - 1 : edit.from;
    const start = startOf(aligned, head);
    const end = endOf(aligned, inserting ? head : edit.to - 1);
    for (let i = 0; i < edit.text.length; i++, out++) {
      starts[out] = start;
      ends[out] = end;
    }
    at = edit.to;
  }
  copy(at, text.length);
  return { text: result, tracked: true, first: aligned.first, base: 0, inserted: 0, starts, ends };
};
