/** Sources of regular expressions → trees. JavaScript has accepted the source, so nothing is checked that it checks. */
import type { Either } from 'fp-ts/lib/Either.js';
import type { Syntax } from './syntax.js';
import { orReason, Unsupported } from './unsupported.js';

const empty: Syntax = { kind: 'sequence', parts: [] };

const deepest = 100;

const escapedSet =
  /\\(?:[pP]\{[^}]*\}|u\{[0-9a-fA-F]+\}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[a-zA-Z]|[dDwWsS]|0(?!\d)|[tnvfr])/uy;
const escapedUnit = /\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[a-zA-Z]|[dDwWsS]|0(?!\d)|[tnvfr])/y;
const times = /\{(\d+)(?:(,)(\d*))?\}/y;
const group = /\((?:\?(?:<?[=!]|:|<[\p{L}_$][^>]*>))?/uy;

/** A source and how far it has been read. */
interface Cursor {
  readonly source: string;
  readonly unicode: boolean;
  at: number;
}

const current = (c: Cursor): string | undefined => c.source[c.at];

const matchHere = (c: Cursor, pattern: RegExp): RegExpExecArray | null => {
  pattern.lastIndex = c.at;
  return pattern.exec(c.source);
};

/** Reads `text`, which stands for a set of characters. */
const set = (c: Cursor, text: string): Syntax => {
  c.at += text.length;
  return { kind: 'set', source: text };
};

const literal = (character: string, unicode: boolean): Syntax => {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return { kind: 'set', code, source: unicode ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}` };
};

/** `\…` */
const escape = (c: Cursor): Syntax => {
  const next = c.source[c.at + 1] ?? '';
  if (/[1-9]/.test(next) || (next === 'k' && c.unicode))
    throw new Unsupported('it refers back to what a group matched');
  if (next === 'b' || next === 'B') {
    c.at += 2;
    return { kind: 'border', at: next === 'b' ? 'word' : 'insideWord' };
  }
  const known = matchHere(c, c.unicode ? escapedSet : escapedUnit);
  if (known !== null) return set(c, known[0]);
  c.at += 2;
  return literal(next, c.unicode);
};

/** `[…]` */
const bracketed = (c: Cursor): Syntax => {
  const { source, at } = c;
  let end = at + 1;
  while (end < source.length && source[end] !== ']') end += source[end] === '\\' ? 2 : 1;
  return set(c, source.slice(at, end + 1));
};

/** `(…)`, of any kind. */
const grouped = (c: Cursor, depth: number): Syntax => {
  const opened = matchHere(c, group)?.[0] ?? '(';
  c.at += opened.length;
  if (current(c) === '?') throw new Unsupported('it changes its flags inside');
  const body = choice(c, depth + 1);
  c.at++;
  switch (opened) {
    case '(?=':
    case '(?!':
      return { kind: 'look', body, ahead: true, negated: opened === '(?!' };
    case '(?<=':
    case '(?<!':
      return { kind: 'look', body, ahead: false, negated: opened === '(?<!' };
    default:
      return body;
  }
};

const character = (c: Cursor): Syntax => {
  const here = c.unicode ? String.fromCodePoint(c.source.codePointAt(c.at) ?? 0) : (current(c) ?? '');
  c.at += here.length;
  return literal(here, c.unicode);
};

const atom = (c: Cursor, depth: number): Syntax => {
  const here = current(c);
  switch (here) {
    case '\\':
      return escape(c);
    case '[':
      return bracketed(c);
    case '(':
      return grouped(c, depth);
    case '.':
      return set(c, '.');
    case '^':
    case '$':
      c.at++;
      return { kind: 'border', at: here === '^' ? 'start' : 'end' };
    default:
      return character(c);
  }
};

interface Times {
  readonly min: number;
  readonly max: number;
}

/** Reads how often what stands before is to be taken; undefined where nothing says so, which is once. */
const quantifier = (c: Cursor): Times | undefined => {
  const sign = current(c);
  if (sign === '*' || sign === '+' || sign === '?') {
    c.at++;
    return { min: sign === '+' ? 1 : 0, max: sign === '?' ? 1 : Infinity };
  }
  const counted = sign === '{' ? matchHere(c, times) : null;
  if (counted === null) return undefined;
  const [whole, least, comma, most] = counted;
  c.at += whole.length;
  const min = Number(least);
  return { min, max: comma === undefined ? min : most === '' ? Infinity : Number(most) };
};

const repeated = (c: Cursor, body: Syntax): Syntax => {
  const often = quantifier(c);
  if (often === undefined) return body;
  const lazy = current(c) === '?';
  if (lazy) c.at++;
  return { kind: 'repeat', body, ...often, lazy };
};

const sequence = (c: Cursor, depth: number): Syntax => {
  const parts: Array<Syntax> = [];
  while (c.at < c.source.length && current(c) !== '|' && current(c) !== ')') parts.push(repeated(c, atom(c, depth)));
  const [first = empty] = parts;
  return parts.length === 1 ? first : { kind: 'sequence', parts };
};

const choice = (c: Cursor, depth: number): Syntax => {
  if (depth > deepest) throw new Unsupported(`its groups lie more than ${deepest} deep`);
  const options = [sequence(c, depth)];
  while (current(c) === '|') {
    c.at++;
    options.push(sequence(c, depth));
  }
  const [first = empty] = options;
  return options.length === 1 ? first : { kind: 'choice', options };
};

/** The tree of a source that JavaScript accepts, of flag `u` or none. Left: why there is none. */
export const parseRegex = (source: string, unicode: boolean): Either<string, Syntax> =>
  orReason(() => choice({ source, unicode, at: 0 }, 0));
