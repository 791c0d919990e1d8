/** Regular expressions that come from files and options of others: matched in time that grows with the text, or refused. */
import { type Either, left, map } from 'fp-ts/lib/Either.js';
import * as E from 'fp-ts/lib/Either.js';
import { compileRegex } from './compile.js';
import { parseRegex } from './parse.js';
import { isPlain } from './plain.js';
import { makeSearch, type Search } from './search.js';
import type { Syntax } from './syntax.js';

/** Characters of a pattern; the longest in use have a few hundred. */
const longest = 10_000;

/** The tree of a pattern in JavaScript's syntax. Left: what is wrong with it. */
const syntaxOf = (source: string, flags: 'u' | ''): Either<string, Syntax> => {
  if (source.length > longest) return left(`it has more than ${longest} characters`);
  try {
    new RegExp(source, flags);
  } catch (cause) {
    return left(cause instanceof Error ? cause.message : String(cause));
  }
  return parseRegex(source, flags === 'u');
};

/**
 * A matcher with JavaScript's results and no catastrophe: each place of the pattern and the text is tried once. Left, in words: what
 * is no regular expression, refers back to a group, looks back at more than a character, repeats what may be empty, or is too large.
 */
export const linearRegex = (source: string, flags: 'u' | '' = ''): Either<string, Search> =>
  E.flatMap((syntax: Syntax) =>
    map((programs: Parameters<typeof makeSearch>[0]) => makeSearch(programs, flags === 'u'))(compileRegex(syntax)),
  )(syntaxOf(source, flags));

/** Matches whole texts only. */
export const wholeRegex = (source: string): Either<string, Search> =>
  // By itself first: a bracket too many must not close the one put around it.
  E.flatMap(() => linearRegex(`^(?:${source})$`))(syntaxOf(source, ''));

/** Whether JavaScript's own matcher runs the pattern in time that grows with the text, and no faster. */
export const isPlainRegex = (source: string, flags: 'u' | '' = ''): boolean => {
  const syntax = syntaxOf(source, flags);
  return E.isRight(syntax) && isPlain(syntax.right);
};
