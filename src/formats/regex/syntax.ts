/** JavaScript's regular expressions as trees, as far as they can be matched in time that grows with the text alone. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';

export type Syntax =
  /** One character, of those that `source` stands for; `code` where there is but one. */
  | { readonly kind: 'set'; readonly source: string; readonly code?: number }
  | { readonly kind: 'sequence'; readonly parts: ReadonlyArray<Syntax> }
  | { readonly kind: 'choice'; readonly options: ReadonlyArray<Syntax> }
  | {
      readonly kind: 'repeat';
      readonly body: Syntax;
      readonly min: number;
      readonly max: number;
      readonly lazy: boolean;
    }
  | { readonly kind: 'look'; readonly body: Syntax; readonly ahead: boolean; readonly negated: boolean }
  | { readonly kind: 'border'; readonly at: 'start' | 'end' | 'word' | 'insideWord' };

const empty: Syntax = { kind: 'sequence', parts: [] };

const deepest = 100;

/** Why a pattern is not one of these. */
class Unsupported extends Error {}

const literal = (character: string, unicode: boolean): Syntax => {
  const code = character.codePointAt(0) ?? 0;
  const hex = code.toString(16);
  return { kind: 'set', code, source: unicode ? `\\u{${hex}}` : `\\u${hex.padStart(4, '0')}` };
};

const escapedSet =
  /\\(?:[pP]\{[^}]*\}|u\{[0-9a-fA-F]+\}|u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[a-zA-Z]|[dDwWsS]|0(?!\d)|[tnvfr])/uy;
const escapedUnit = /\\(?:u[0-9a-fA-F]{4}|x[0-9a-fA-F]{2}|c[a-zA-Z]|[dDwWsS]|0(?!\d)|[tnvfr])/y;
const times = /\{(\d+)(?:(,)(\d*))?\}/y;
const group = /\((?:\?(?:<?[=!]|:|<[\p{L}_$][^>]*>))?/uy;

const matchAt = (pattern: RegExp, source: string, at: number): RegExpExecArray | null => {
  pattern.lastIndex = at;
  return pattern.exec(source);
};

const parse = (source: string, unicode: boolean): Syntax => {
  let at = 0;

  const set = (text: string): Syntax => {
    at += text.length;
    return { kind: 'set', source: text };
  };

  const escape = (): Syntax => {
    const next = source[at + 1] ?? '';
    if (/[1-9]/.test(next) || (next === 'k' && unicode))
      throw new Unsupported('it refers back to what a group matched');
    if (next === 'b' || next === 'B') {
      at += 2;
      return { kind: 'border', at: next === 'b' ? 'word' : 'insideWord' };
    }
    const known = matchAt(unicode ? escapedSet : escapedUnit, source, at);
    if (known !== null) return set(known[0]);
    at += 2;
    return literal(next, unicode);
  };

  const bracketed = (): Syntax => {
    let end = at + 1;
    while (end < source.length && source[end] !== ']') end += source[end] === '\\' ? 2 : 1;
    return set(source.slice(at, end + 1));
  };

  const grouped = (depth: number): Syntax => {
    const opened = matchAt(group, source, at)?.[0] ?? '(';
    at += opened.length;
    if (source[at] === '?') throw new Unsupported('it changes its flags inside');
    const body = choice(depth + 1);
    at++;
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

  const atom = (depth: number): Syntax => {
    const c = source[at] ?? '';
    switch (c) {
      case '\\':
        return escape();
      case '[':
        return bracketed();
      case '(':
        return grouped(depth);
      case '.':
        return set('.');
      case '^':
      case '$':
        at++;
        return { kind: 'border', at: c === '^' ? 'start' : 'end' };
      default: {
        const character = unicode ? String.fromCodePoint(source.codePointAt(at) ?? 0) : c;
        at += character.length;
        return literal(character, unicode);
      }
    }
  };

  const repeated = (body: Syntax): Syntax => {
    const c = source[at];
    const counted = c === '{' ? matchAt(times, source, at) : null;
    if (c !== '*' && c !== '+' && c !== '?' && counted === null) return body;
    at += counted === null ? 1 : counted[0].length;
    const lazy = source[at] === '?';
    if (lazy) at++;
    const [, least = '', comma, most = ''] = counted ?? [];
    const [min, max] =
      counted === null
        ? [c === '+' ? 1 : 0, c === '?' ? 1 : Infinity]
        : [Number(least), comma === undefined ? Number(least) : most === '' ? Infinity : Number(most)];
    return { kind: 'repeat', body, min, max, lazy };
  };

  const sequence = (depth: number): Syntax => {
    const parts: Array<Syntax> = [];
    while (at < source.length && source[at] !== '|' && source[at] !== ')') parts.push(repeated(atom(depth)));
    const [first = empty] = parts;
    return parts.length === 1 ? first : { kind: 'sequence', parts };
  };

  const choice = (depth: number): Syntax => {
    if (depth > deepest) throw new Unsupported(`its groups lie more than ${deepest} deep`);
    const options = [sequence(depth)];
    while (source[at] === '|') {
      at++;
      options.push(sequence(depth));
    }
    const [first = empty] = options;
    return options.length === 1 ? first : { kind: 'choice', options };
  };

  return choice(0);
};

/** The tree of a source that JavaScript accepts, of flag `u` or none. Left: why there is none. */
export const parseRegex = (source: string, unicode: boolean): Either<string, Syntax> => {
  try {
    return right(parse(source, unicode));
  } catch (cause) {
    if (cause instanceof Unsupported) return left(cause.message);
    throw cause;
  }
};

/** Whether it matches the empty text somewhere. */
export const nullable = (syntax: Syntax): boolean => {
  switch (syntax.kind) {
    case 'set':
      return false;
    case 'sequence':
      return syntax.parts.every(nullable);
    case 'choice':
      return syntax.options.some(nullable);
    case 'repeat':
      return syntax.min === 0 || nullable(syntax.body);
    case 'look':
    case 'border':
      return true;
  }
};
