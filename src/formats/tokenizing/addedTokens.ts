/** Added tokens: found in the text before anything else happens to it, as the `tokenizers` library finds them. */
import { verbatim } from './aligned.js';
import type { Normalize } from './normalizer.js';

export interface AddedToken {
  readonly id: number;
  readonly content: string;
  readonly singleWord: boolean;
  readonly lstrip: boolean;
  readonly rstrip: boolean;
  /** Looked for in the normalised text instead of the raw one. */
  readonly normalized: boolean;
  readonly special: boolean;
}

/** A stretch of text: an added token, or text between them. */
export interface Stretch {
  readonly start: number;
  readonly end: number;
  readonly id?: number;
}

export type SplitAdded = (text: string) => ReadonlyArray<Stretch>;

const whole: SplitAdded = (text) => (text === '' ? [] : [{ start: 0, end: text.length }]);
const escaped = (literal: string): string => literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');
const endsInWord = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]$/u;
const beginsWithWord = /^[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;
const blank = /\p{White_Space}/u;
const blanksAtStart = /^\p{White_Space}+/u;

/** Leftmost, of several the longest; stripping takes the blanks beside a token into it. */
const splitter = (tokens: ReadonlyArray<{ readonly text: string; readonly token: AddedToken }>): SplitAdded => {
  const byText = new Map<string, AddedToken>();
  for (const { text, token } of tokens) if (text !== '' && !byText.has(text)) byText.set(text, token);
  if (byText.size === 0) return whole;
  const alternatives = [...byText.keys()].sort((a, b) => b.length - a.length).map(escaped);
  const pattern = new RegExp(alternatives.join('|'), 'g');
  return (text) => {
    pattern.lastIndex = 0;
    let match = pattern.exec(text);
    if (match === null) return whole(text);
    const stretches: Stretch[] = [];
    let at = 0;
    for (; match !== null; match = pattern.exec(text)) {
      const token = byText.get(match[0]);
      if (token === undefined) continue;
      let start = match.index;
      let end = start + match[0].length;
      // A character has two units at most.
      const inWord =
        endsInWord.test(text.slice(Math.max(0, start - 2), start)) || beginsWithWord.test(text.slice(end, end + 2));
      if (token.singleWord && inWord) continue;
      if (token.lstrip) while (start > at && blank.test(text.charAt(start - 1))) start--;
      if (token.rstrip) end += blanksAtStart.exec(text.slice(end))?.[0].length ?? 0;
      if (at < start) stretches.push({ start: at, end: start });
      stretches.push({ start, end, id: token.id });
      at = end;
    }
    if (at < text.length) stretches.push({ start: at, end: text.length });
    return stretches;
  };
};

/** Splitters for the raw text and for the normalised text. */
export const splitters = (
  tokens: ReadonlyArray<AddedToken>,
  normalize: Normalize,
): { readonly raw: SplitAdded; readonly normalized: SplitAdded } => ({
  raw: splitter(tokens.filter(({ normalized }) => !normalized).map((token) => ({ text: token.content, token }))),
  normalized: splitter(
    tokens
      .filter(({ normalized }) => normalized)
      .map((token) => ({ text: normalize(verbatim(token.content, 0, false)).text, token })),
  ),
});
