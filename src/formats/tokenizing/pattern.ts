/** Patterns of tokenizer.json: literal strings and Oniguruma expressions. */
import { SplitPreTokenizer } from './huggingface.js';

const escaped = (literal: string): string => literal.replace(/[\\^$.*+?()[\]{}|/-]/g, '\\$&');

/** Characters outside ASCII that fold to an ASCII letter, which Oniguruma matches under `(?i:…)` and the translation leaves out. */
const foldedOutsideAscii: ReadonlyArray<readonly [RegExp, string]> = [
  [/\[sS\]/g, '[sS\\u017F]'],
  [/\[kK\]/g, '[kK\\u212A]'],
];

/**
 * A `{ "String": … }` or `{ "Regex": … }` pattern as a global JavaScript expression; undefined where there is neither, or
 * where the expression uses what JavaScript has no counterpart for.
 */
export const compilePattern = (pattern: unknown): RegExp | undefined => {
  if (typeof pattern !== 'object' || pattern === null) return undefined;
  if ('String' in pattern && typeof pattern.String === 'string') {
    return pattern.String === '' ? /(?!)/gu : new RegExp(escaped(pattern.String), 'gu');
  }
  if (!('Regex' in pattern) || typeof pattern.Regex !== 'string') return undefined;
  try {
    const translated = new SplitPreTokenizer({
      type: 'Split',
      pattern: { Regex: pattern.Regex },
      behavior: 'Isolated',
      invert: false,
    }).pattern;
    if (translated === null) return undefined;
    if (!pattern.Regex.includes('(?i')) return translated;
    let source = translated.source;
    for (const [letter, letters] of foldedOutsideAscii) source = source.replace(letter, letters);
    return new RegExp(source, 'gu');
  } catch {
    return undefined;
  }
};
