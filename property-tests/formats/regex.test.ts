/** Laws of the matcher for patterns of others: JavaScript's results, in time that grows with the text alone. */
import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { isPlainRegex, linearRegex, wholeRegex } from '../../src/formats/regex/linearRegex.js';
import type { Search } from '../../src/formats/regex/search.js';

const atoms = [
  ...['a', 'b', 'é', '😀', ' ', '\\n', '.', '[ab]', '[^a]', '\\s', '\\S', '\\w', '\\d', '\\p{L}', '\\P{L}', '[\\s\\S]'],
  ...['^', '$', '\\b', '\\B', '(?=a)', '(?!b)', '(?<=a)', '(?<!\\s)', '(?=a+b)', '(?!(?:ab)+$)', '\\u{61}', '\\x62'],
] as const;
const counts = ['', '', '', '*', '+', '?', '*?', '+?', '??', '{2}', '{1,3}', '{2,}', '{0,2}?'] as const;

/** Patterns of which JavaScript's own matcher makes short work on short texts, or the law would never end. */
const pattern = fc.letrec<{ pattern: string }>((tie) => ({
  pattern: fc.oneof(
    { maxDepth: 4, depthSize: 'small' },
    fc
      .tuple(fc.constantFrom(...atoms), fc.constantFrom(...counts))
      .map(([atom, count]) => (/^(?:\^|\$|\\b|\\B|\(\?)/.test(atom) ? atom : atom + count)),
    fc.array(tie('pattern'), { minLength: 2, maxLength: 3 }).map((parts) => parts.join('')),
    fc.array(tie('pattern'), { minLength: 2, maxLength: 3 }).map((parts) => `(?:${parts.join('|')})`),
    fc.tuple(tie('pattern'), fc.constantFrom(...counts)).map(([part, count]) => `(${part})${count}`),
  ),
})).pattern;

const text = fc
  .array(fc.constantFrom('a', 'b', 'ab', ' ', '\n', 'é', '😀', '1', '_', '\ud83d', '\ude00'), { maxLength: 9 })
  .map((parts) => parts.join(''));

const insidePair = (subject: string, at: number): boolean =>
  /[\uDC00-\uDFFF]/.test(subject.charAt(at)) && /[\uD800-\uDBFF]/.test(subject.charAt(at - 1));

/** V8 finds empty matches in the middle of a character, where the standard has none. */
const native = (source: string, subject: string): ReadonlyArray<number> =>
  Array.from(subject.matchAll(new RegExp(source, 'gu')))
    .filter(({ index }) => !insidePair(subject, index))
    .flatMap(({ index, 0: { length } }) => [index, index + length]);

describe('patterns of others', () => {
  test('match what JavaScript matches, or are refused', () => {
    let matched = 0;
    let ran = 0;
    fc.assert(
      fc.property(pattern, text, (source, subject) => {
        const search = linearRegex(source, 'u');
        ran++;
        if (E.isLeft(search)) return;
        matched++;
        const spans = native(source, subject);
        expect(search.right.spans(subject)).toEqual(spans);
        expect(search.right.test(subject)).toBe(spans.length > 0);
        expect(search.right.first(subject)).toBe(spans.length > 0 ? subject.slice(spans[0], spans[1]) : undefined);
      }),
      { numRuns: 2000 },
    );
    expect(matched).toBeGreaterThan(ran / 3);
  });

  test('match whole texts as JavaScript does, without the flag u', () => {
    const sources = fc.constantFrom('a+', '(?:a|ab)+', 'a|b', '.*\\.a', '[\\w.]+\\.b', 'a{,2}', '\\-a', 'a]', '}');
    fc.assert(
      fc.property(sources, fc.stringMatching(/^[ab.{}2,\]-]{0,8}$/), (source, subject) => {
        const search = wholeRegex(source);
        expect(E.map(({ test }: Search) => test(subject))(search)).toEqual(
          E.right(new RegExp(`^(?:${source})$`).test(subject)),
        );
      }),
    );
  });

  const long = 'a'.repeat(50_000);
  const hostile = {
    'nested repetition': ['(a+)+$', long + 'b'],
    'alternatives that overlap': ['(a|a)*b', long],
    'a row of repetitions': ['a*a*a*a*a*a*b', long],
    'a start at every place': ['a+b', long],
    'blanks at the end': ['\\s+$', `${' '.repeat(50_000)}x`],
    'looking ahead to the end, everywhere': ['(?=(?:aa)+$)a', long],
    'not looking ahead to the end, everywhere': ['(?!a*a*b)a', long],
    'words and blanks': ['^(?:\\w+\\s?)+$', `${'word '.repeat(10_000)}!`],
    'counted repetition': ['(?:a{1,9}){1,9}b', long],
  } as const;
  test.each(Object.entries(hostile))('%s: every place is tried once', (_, [source, subject]) => {
    expect(isPlainRegex(source, 'u')).toBe(false);
    const search = linearRegex(source, 'u');
    if (E.isLeft(search)) throw new Error(search.left);
    // As many units again take twice as long, not four times: it ends at all.
    expect(search.right.spans(subject).length).toBeLessThanOrEqual(2 * subject.length);
  });

  const refused = {
    'a reference back': ['(a)\\1', 'it refers back to what a group matched'],
    'a look back at two': ['(?<=ab)c', 'it looks back at more than a character'],
    'what may be empty, repeated': ['(?:a*)*b', 'it repeats what may be empty'],
    'large numbers of times': ['(?:a{1,100}){1,100}', 'it is too large, its repetitions written out'],
    depth: [`${'(?:'.repeat(200)}a${')'.repeat(200)}`, 'its groups lie more than 100 deep'],
    length: ['a'.repeat(10_001), 'it has more than 10000 characters'],
  } as const;
  test.each(Object.entries(refused))('%s is refused, with the reason', (_, [source, reason]) => {
    expect(linearRegex(source, 'u')).toEqual(E.left(reason));
  });

  test('what is no regular expression is refused in the words of JavaScript', () => {
    expect(linearRegex('(', 'u')).toEqual(E.left(expect.stringContaining('Unterminated group')));
    expect(wholeRegex('a)|(b')).toEqual(E.left(expect.stringContaining('Unmatched')));
  });

  test('the split patterns of well-known tokenizers are run by JavaScript itself', () => {
    const blanks = String.raw`\p{White_Space}`;
    const rest = `${blanks}+(?![^\\p{White_Space}])|${blanks}+`;
    expect(isPlainRegex(`'s|'t| ?\\p{L}+| ?\\p{N}+| ?[^\\p{White_Space}\\p{L}\\p{N}]+|${rest}`, 'u')).toBe(true);
    const cl100k = `[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\p{L}\\p{N}]+[\\r\\n]*|${blanks}*[\\r\\n]+|${rest}`;
    expect(isPlainRegex(cl100k, 'u')).toBe(true);
    // Without the last option nothing takes the blanks that the others gave up.
    expect(isPlainRegex(`${blanks}*[\\r\\n]+|${blanks}+(?![^\\p{White_Space}])`, 'u')).toBe(false);
    // Nor does it once a single blank has been taken before.
    expect(isPlainRegex(`${blanks}*[\\r\\n]+|${blanks}|${blanks}+`, 'u')).toBe(false);
  });
});
