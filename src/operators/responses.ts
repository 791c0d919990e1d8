/** Responses found by the templates in front of them, in token ids or in text. */
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Span } from '../records.js';

/** A template as ids: as given, or encoded without special tokens. */
export const templateIds = (
  template: string | ReadonlyArray<number>,
  tokenizer: Pick<Tokenizer, 'encode'>,
): ReadonlyArray<number> =>
  typeof template === 'string' ? [...tokenizer.encode(template, { addSpecialTokens: false })] : template;

const matchesAt = (ids: ArrayLike<number>, pattern: ReadonlyArray<number>, at: number): boolean => {
  for (let i = 0; i < pattern.length; i++) if (ids[at + i] !== pattern[i]) return false;
  return true;
};

/** Every start in [start, end) of the whole pattern, overlapping ones too. An empty pattern is nowhere. */
export const findIds = (
  ids: ArrayLike<number>,
  pattern: ReadonlyArray<number>,
  start = 0,
  end = ids.length,
): ReadonlyArray<number> => {
  const starts: Array<number> = [];
  if (pattern.length === 0) return starts;
  for (let at = start; at + pattern.length <= end; at++) if (matchesAt(ids, pattern, at)) starts.push(at);
  return starts;
};

/** Every start of the pattern in the text, overlapping ones too. */
export const findText = (text: string, pattern: string): ReadonlyArray<number> => {
  const starts: Array<number> = [];
  if (pattern === '') return starts;
  for (let at = text.indexOf(pattern); at !== -1; at = text.indexOf(pattern, at + 1)) starts.push(at);
  return starts;
};

export interface Found {
  /** Starts of the response template, increasing. */
  readonly responses: ReadonlyArray<number>;
  readonly responseLength: number;
  /** Starts of the instruction template, increasing; absent: rows hold one exchange. */
  readonly instructions?: ReadonlyArray<number> | undefined;
  readonly instructionLength?: number | undefined;
  /** Where the searched stretch ends. */
  readonly end: number;
}

/**
 * What the responses are: without an instruction template everything after the last response template; with one, everything
 * after a response template up to the next template of either kind. Templates themselves are never part of it. Nothing when a
 * template that was asked for is not found, because then no end of a response is known.
 */
export const responseSpans = ({
  responses,
  responseLength,
  instructions,
  instructionLength = 0,
  end,
}: Found): ReadonlyArray<Span> => {
  const last = responses[responses.length - 1];
  if (last === undefined) return [];
  if (instructions === undefined) return last + responseLength < end ? [{ start: last + responseLength, end }] : [];
  if (instructions.length === 0) return [];
  // At one start the longer template is meant: the shorter is its beginning.
  const marks = [
    ...responses.map((start) => ({ start, length: responseLength, response: true })),
    ...instructions.map((start) => ({ start, length: instructionLength, response: false })),
  ].sort((a, b) => a.start - b.start || b.length - a.length || Number(b.response) - Number(a.response));
  const spans: Array<Span> = [];
  let from: number | undefined;
  let taken = 0;
  let takenBy: boolean | undefined;
  for (const { start, length, response } of marks) {
    // What begins inside a template of the other kind is a part of that one.
    if (start < taken && response !== takenBy) continue;
    if (from !== undefined && from < start) spans.push({ start: from, end: start });
    taken = Math.max(taken, start + length);
    takenBy = response;
    from = response ? taken : undefined;
  }
  if (from !== undefined && from < end) spans.push({ start: from, end });
  return spans;
};
