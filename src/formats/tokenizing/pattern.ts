/** Patterns of tokenizer.json: literal strings and Oniguruma expressions. */
import { isLeft } from 'fp-ts/lib/Either.js';
import { isPlainRegex, linearRegex } from '../regex/linearRegex.js';
import { SplitPreTokenizer } from './huggingface.js';

const escaped = (literal: string): string => literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

/** Characters outside ASCII that fold to an ASCII letter, which Oniguruma matches under `(?i:…)` and the translation leaves out. */
const foldedOutsideAscii: ReadonlyArray<readonly [RegExp, string]> = [
  [/\[sS\]/g, '[sS\\u017F]'],
  [/\[kK\]/g, '[kK\\u212A]'],
];

/** What a pattern matches in a text. */
export interface Pattern {
  /** [start, end) of all matches, flat. */
  readonly spans: (text: string) => ReadonlyArray<number>;
  /** The same as JavaScript's own expression, of the flags gu, where that takes no longer than the text is long. */
  readonly regExp?: RegExp;
}

/** One of our own, known to be harmless. */
export const plainPattern = (regExp: RegExp): Pattern => ({
  regExp,
  spans: (text) => {
    const found: Array<number> = [];
    for (const match of text.matchAll(regExp)) found.push(match.index, match.index + match[0].length);
    return found;
  },
});

/** An Oniguruma expression as JavaScript's; undefined where it uses what has no counterpart. */
const translated = (expression: string): RegExp | undefined => {
  try {
    const { pattern } = new SplitPreTokenizer({
      type: 'Split',
      pattern: { Regex: expression },
      behavior: 'Isolated',
      invert: false,
    });
    if (pattern === null) return undefined;
    if (!expression.includes('(?i')) return pattern;
    let { source } = pattern;
    for (const [letter, letters] of foldedOutsideAscii) source = source.replace(letter, letters);
    return new RegExp(source, 'gu');
  } catch {
    return undefined;
  }
};

/** The longest in use have a few hundred characters. */
const longestExpression = 10_000;

/**
 * A `{ "String": … }` or `{ "Regex": … }` pattern; undefined where there is neither, or where the expression uses what JavaScript
 * has no counterpart for, or what `riskOf` tells.
 */
export const compilePattern = (pattern: unknown): Pattern | undefined => {
  if (typeof pattern !== 'object' || pattern === null) return undefined;
  if ('String' in pattern && typeof pattern.String === 'string') {
    return plainPattern(pattern.String === '' ? /(?!)/gu : new RegExp(escaped(pattern.String), 'gu'));
  }
  if (!('Regex' in pattern) || typeof pattern.Regex !== 'string') return undefined;
  const regExp = pattern.Regex.length > longestExpression ? undefined : translated(pattern.Regex);
  if (regExp === undefined) return undefined;
  if (isPlainRegex(regExp.source, 'u')) return plainPattern(regExp);
  const linear = linearRegex(regExp.source, 'u');
  return isLeft(linear) ? undefined : linear.right;
};

/** An expression that could take longer than anybody waits on some texts. */
export interface Risk {
  /** Where it stands in tokenizer.json. */
  readonly field: string;
  readonly expression: string;
  /** Why our own matcher cannot run it safely either; undefined where it can. */
  readonly refused: string | undefined;
}

const riskOf = (expression: string, field: string): Risk | undefined => {
  if (expression.length > longestExpression) {
    return { field, expression, refused: `it has more than ${longestExpression} characters` };
  }
  const source = translated(expression)?.source;
  if (source === undefined || isPlainRegex(source, 'u')) return undefined;
  const linear = linearRegex(source, 'u');
  return { field, expression, refused: isLeft(linear) ? linear.left : undefined };
};

/** The expressions below a part of tokenizer.json that JavaScript's own matcher should not be given. Files may be nested deeply. */
export const risksIn = (part: unknown, field: string): ReadonlyArray<Risk> => {
  const risks: Array<Risk> = [];
  const waiting: Array<readonly [value: unknown, field: string]> = [[part, field]];
  for (let next = waiting.pop(); next !== undefined; next = waiting.pop()) {
    const [value, at] = next;
    if (typeof value !== 'object' || value === null) continue;
    for (const [name, inner] of Object.entries(value)) {
      const place = Array.isArray(value) ? `${at}[${name}]` : `${at}.${name}`;
      const risk = name === 'Regex' && typeof inner === 'string' ? riskOf(inner, place) : undefined;
      if (risk !== undefined) risks.push(risk);
      waiting.push([inner, place]);
    }
  }
  return risks;
};
