/** A place in the tokens of a template, and how a parser reads on from there. */
import type { Token } from './lexer.js';
import { TemplateError } from './templateError.js';

const deepest = 200;

/** Where a parser stands. */
export interface Cursor {
  readonly tokens: ReadonlyArray<Token>;
  /** The token that is read next. */
  at: number;
  /** How deep expressions and blocks are nested here. */
  depth: number;
  /** Loops that this place lies in. */
  loops: number;
}

/** The beginning of the tokens. */
export const cursorOf = (tokens: ReadonlyArray<Token>): Cursor => ({ tokens, at: 0, depth: 0, loops: 0 });

export const atEnd = ({ tokens, at }: Cursor): boolean => at >= tokens.length;

/** The token that is read next; behind the last one empty data. */
export const current = ({ tokens, at }: Cursor): Token =>
  tokens[at] ?? { type: 'data', value: '', line: tokens.at(-1)?.line ?? 1 };

/** The token after that. */
export const following = ({ tokens, at }: Cursor): Token | undefined => tokens[at + 1];

/** What is wrong here, or at the line given. */
export const syntax = (c: Cursor, message: string, line = current(c).line): TemplateError =>
  new TemplateError('E_TEMPLATE_SYNTAX', message, line);

/** Marks as a template has them. */
const marks: Readonly<Partial<Record<Token['type'], string>>> = {
  variableBegin: '{{',
  variableEnd: '}}',
  blockBegin: '{%',
  blockEnd: '%}',
};

/** How messages call a token. */
export const calledAs = ({ type, value }: Token): string => {
  const written = marks[type] ?? value;
  return written === '' ? type : `'${written}'`;
};

/** How messages call it where there may be none. */
export const shown = (c: Cursor, token: Token): string => (atEnd(c) ? 'end of template' : calledAs(token));

/** Reads a token. */
export const take = (c: Cursor): Token => {
  const token = current(c);
  if (atEnd(c)) throw syntax(c, 'unexpected end of template');
  c.at++;
  return token;
};

export const isType = (c: Cursor, type: Token['type']): boolean => !atEnd(c) && current(c).type === type;

export const isOperator = (c: Cursor, value: string): boolean => isType(c, 'operator') && current(c).value === value;

export const isWord = (c: Cursor, value: string): boolean => isType(c, 'name') && current(c).value === value;

/** Reads on where the condition holds; says whether it did. */
const skipIf = (c: Cursor, holds: boolean): boolean => {
  if (holds) c.at++;
  return holds;
};

export const skipOperator = (c: Cursor, value: string): boolean => skipIf(c, isOperator(c, value));

export const skipWord = (c: Cursor, value: string): boolean => skipIf(c, isWord(c, value));

export const expectOperator = (c: Cursor, value: string): void => {
  if (!skipOperator(c, value)) throw syntax(c, `expected '${value}', got ${shown(c, current(c))}`);
};

export const expectWord = (c: Cursor, value: string): void => {
  if (!skipWord(c, value)) throw syntax(c, `expected '${value}', got ${shown(c, current(c))}`);
};

export const expectName = (c: Cursor): string => {
  if (!isType(c, 'name')) throw syntax(c, `expected a name, got ${shown(c, current(c))}`);
  return take(c).value;
};

/** What the inner parser reads one level deeper; too many levels are refused, before they exhaust the stack. */
export const nested = <A>(c: Cursor, parseInner: () => A): A => {
  if (++c.depth > deepest) throw syntax(c, `nested deeper than ${deepest}`);
  const result = parseInner();
  c.depth--;
  return result;
};
