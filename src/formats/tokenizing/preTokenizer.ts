/** Pre-tokenisers of tokenizer.json as steps that edit a text or cut it, as the `tokenizers` library defines them. */
import { type Aligned, applyEdits, type Edit, prepend, respell } from './aligned.js';
import { compilePattern, type Pattern, plainPattern } from './pattern.js';
import { type Scan, scanGpt2, scannerOf } from './scan.js';

/** Non-empty pieces of a text. Without `starts` they lie end to end and make up the whole text. */
export interface Pieces {
  readonly words: ReadonlyArray<string>;
  readonly starts?: ReadonlyArray<number>;
}

export type Step =
  | { readonly kind: 'edit'; readonly edit: (aligned: Aligned) => Aligned }
  | {
      readonly kind: 'cut';
      readonly cut: (text: string) => Pieces;
      /** The same pieces one by one, for the patterns that have a scanner. */
      readonly scan?: Scan;
    };

export interface PreTokenizer {
  readonly steps: ReadonlyArray<Step>;
  /** Whether the model works on bytes: the last step was `ByteLevel`. */
  readonly byteLevel: boolean;
}

/** Silently wrong in the reference path, or unknown to it: never let through. */
export interface Refused {
  readonly refused: string;
}

type Behavior = 'Removed' | 'Isolated' | 'MergedWithPrevious' | 'MergedWithNext' | 'Contiguous';

/** What becomes of a delimiter: the five behaviours of `SplitDelimiterBehavior`. */
const pieces = (text: string, pattern: Pattern, behavior: Behavior, invert: boolean): Pieces => {
  const marks: { from: number; to: number; match: boolean }[] = [];
  let at = 0;
  const spans = pattern.spans(text);
  for (let i = 0; i < spans.length; i += 2) {
    const from = spans[i] ?? 0;
    if (from > at) marks.push({ from: at, to: from, match: invert });
    at = spans[i + 1] ?? 0;
    if (at > from) marks.push({ from, to: at, match: !invert });
  }
  if (at < text.length) marks.push({ from: at, to: text.length, match: invert });
  const parts: { from: number; to: number }[] = [];
  let previousMatch = false;
  switch (behavior) {
    case 'Removed':
      for (const mark of marks) if (!mark.match) parts.push(mark);
      break;
    case 'Isolated':
      parts.push(...marks);
      break;
    case 'MergedWithPrevious':
      for (const mark of marks) {
        const last = parts.at(-1);
        if (mark.match && !previousMatch && last !== undefined) last.to = mark.to;
        else parts.push({ from: mark.from, to: mark.to });
        previousMatch = mark.match;
      }
      break;
    case 'MergedWithNext':
      for (const mark of marks.reverse()) {
        const last = parts.at(-1);
        if (mark.match && !previousMatch && last !== undefined) last.from = mark.from;
        else parts.push({ from: mark.from, to: mark.to });
        previousMatch = mark.match;
      }
      parts.reverse();
      break;
    case 'Contiguous':
      for (const mark of marks) {
        const last = parts.at(-1);
        if (last !== undefined && mark.match === previousMatch) last.to = mark.to;
        else parts.push({ from: mark.from, to: mark.to });
        previousMatch = mark.match;
      }
      break;
  }
  const words = parts.map(({ from, to }) => text.slice(from, to));
  return behavior === 'Removed' ? { words, starts: parts.map(({ from }) => from) } : { words };
};

const cutBy = (pattern: Pattern, behavior: Behavior, invert = false, scan?: Scan): Step => {
  if (behavior !== 'Isolated') return { kind: 'cut', cut: (text) => pieces(text, pattern, behavior, invert) };
  // Most split patterns match everything: then their matches are the pieces, which is several times faster to get.
  return {
    kind: 'cut',
    ...(scan === undefined ? {} : { scan }),
    cut: (text) => {
      const words = pattern.regExp === undefined ? null : text.match(pattern.regExp);
      if (words !== null) {
        let covered = 0;
        let empty = false;
        for (const word of words) {
          covered += word.length;
          empty ||= word === '';
        }
        if (covered === text.length && !empty) return { words };
      }
      return pieces(text, pattern, 'Isolated', false);
    },
  };
};

const gpt2Pattern = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

const replaceAll = (aligned: Aligned, from: string, to: string): Aligned => {
  if (from === to || !aligned.text.includes(from)) return aligned;
  if (!aligned.tracked || to.length === from.length) return respell(aligned, aligned.text.replaceAll(from, to));
  const edits: Edit[] = [];
  for (let i = aligned.text.indexOf(from); i >= 0; i = aligned.text.indexOf(from, i + from.length)) {
    edits.push({ from: i, to: i + from.length, text: to });
  }
  return applyEdits(aligned, edits);
};

const escapeInClass = (character: string): string => character.replace(/[\\\]^-]/g, '\\$&');

const metaspace = (config: Record<string, unknown>): ReadonlyArray<Step> => {
  const mark = typeof config['replacement'] === 'string' ? config['replacement'] : '\u2581';
  const scheme = config['prepend_scheme'] ?? (config['add_prefix_space'] === false ? 'never' : 'always');
  const edit = (aligned: Aligned): Aligned => {
    const replaced = replaceAll(aligned, ' ', mark);
    const wanted = scheme === 'always' || (scheme === 'first' && aligned.first);
    return wanted && !replaced.text.startsWith(mark) ? prepend(replaced, mark) : replaced;
  };
  const steps: Step[] = [{ kind: 'edit', edit }];
  // MergedWithNext on single characters: each mark begins a piece.
  if (config['split'] !== false) {
    const one = escapeInClass(mark);
    steps.push(cutBy(plainPattern(new RegExp(`[${one}]?[^${one}]+|[${one}]`, 'gu')), 'Isolated'));
  }
  return steps;
};

const punctuationPattern = plainPattern(/[!-/:-@[-`{-~\p{P}]/gu);
const blanksPattern = plainPattern(/\p{White_Space}+/gu);

const behaviorOf = (value: unknown, otherwise: Behavior): Behavior | undefined => {
  switch (value ?? otherwise) {
    case 'Removed':
    case 'removed':
      return 'Removed';
    case 'Isolated':
    case 'isolated':
      return 'Isolated';
    case 'MergedWithPrevious':
    case 'merged_with_previous':
      return 'MergedWithPrevious';
    case 'MergedWithNext':
    case 'merged_with_next':
      return 'MergedWithNext';
    case 'Contiguous':
    case 'contiguous':
      return 'Contiguous';
    default:
      return undefined;
  }
};

type Fields = Record<string, unknown>;

/** What a pre-tokeniser of some kind is: undefined and `refused` as `compilePreTokenizer` has them. */
type Compiled = PreTokenizer | Refused | undefined;

/** Steps that work on the text, not on bytes. */
const onText = (...steps: ReadonlyArray<Step>): PreTokenizer => ({ steps, byteLevel: false });

const sequence = (parts: unknown): Compiled => {
  if (!Array.isArray(parts)) return undefined;
  const steps: Step[] = [];
  let byteLevel = false;
  for (const part of parts as ReadonlyArray<unknown>) {
    const one = compilePreTokenizer(part);
    // Steps behind ByteLevel would cut the byte alphabet, not the text.
    if (one === undefined || byteLevel) return undefined;
    if ('refused' in one) return one;
    steps.push(...one.steps);
    byteLevel = one.byteLevel;
  }
  return { steps, byteLevel };
};

const spaceInFront: Step = {
  kind: 'edit',
  edit: (aligned) => (aligned.text.startsWith(' ') ? aligned : prepend(aligned, ' ')),
};

const byteLevel = (fields: Fields): Compiled => {
  const steps = fields['add_prefix_space'] === true ? [spaceInFront] : [];
  if (fields['use_regex'] === false) return { steps, byteLevel: true };
  const pattern = compilePattern({ Regex: gpt2Pattern });
  if (pattern === undefined) return undefined;
  return { steps: [...steps, cutBy(pattern, 'Isolated', false, scanGpt2)], byteLevel: true };
};

const split = (fields: Fields): Compiled => {
  const behavior = behaviorOf(fields['behavior'], 'Isolated');
  if (behavior === 'MergedWithNext' || behavior === 'Contiguous') {
    return { refused: `Split with behavior "${behavior}"` };
  }
  const pattern = compilePattern(fields['pattern']);
  if (pattern === undefined || behavior === undefined) return undefined;
  const source = (fields['pattern'] as { readonly Regex?: unknown }).Regex;
  const scan = typeof source === 'string' ? scannerOf(source) : undefined;
  return onText(cutBy(pattern, behavior, fields['invert'] === true, scan));
};

const digits = (fields: Fields): Compiled =>
  onText(cutBy(plainPattern(fields['individual_digits'] === true ? /\p{N}/gu : /\p{N}+/gu), 'Isolated'));

const punctuation = (fields: Fields): Compiled => {
  const behavior = behaviorOf(fields['behavior'], 'Isolated');
  return behavior === undefined ? undefined : onText(cutBy(punctuationPattern, behavior));
};

const delimiterSplit = (fields: Fields): Compiled => {
  const pattern = compilePattern({ String: fields['delimiter'] });
  return pattern === undefined ? undefined : onText(cutBy(pattern, 'Removed'));
};

const whitespace = (): Compiled => {
  const pattern = compilePattern({ Regex: String.raw`\w+|[^\w\s]+` });
  return pattern === undefined ? undefined : onText(cutBy(pattern, 'Removed', true));
};

/**
 * The steps of a pre-tokeniser; undefined when it is not covered exactly, so that the reference has to run it; `refused`
 * when the reference would run it wrongly.
 */
export const compilePreTokenizer = (config: unknown): PreTokenizer | Refused | undefined => {
  if (config === null || config === undefined) return { steps: [], byteLevel: false };
  if (typeof config !== 'object') return undefined;
  const fields = config as Fields;
  switch (fields['type']) {
    case 'Sequence':
      return sequence(fields['pretokenizers']);
    case 'ByteLevel':
      return byteLevel(fields);
    case 'Split':
      return split(fields);
    case 'UnicodeScripts':
      return { refused: 'UnicodeScripts' };
    case 'Metaspace':
      return onText(...metaspace(fields));
    case 'Digits':
      return digits(fields);
    case 'Punctuation':
      return punctuation(fields);
    case 'CharDelimiterSplit':
      return delimiterSplit(fields);
    case 'WhitespaceSplit':
      return onText(cutBy(blanksPattern, 'Removed'));
    case 'Whitespace':
      return whitespace();
    case 'BertPreTokenizer':
      return onText(cutBy(blanksPattern, 'Removed'), cutBy(punctuationPattern, 'Isolated'));
    default:
      return undefined;
  }
};
