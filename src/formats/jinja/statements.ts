/** Statements of templates: those of Jinja2 3.1, loop controls, and transformers' generation block. */
import type { Body, Expression, Statement, Target } from './ast.js';
import {
  atEnd,
  calledAs,
  current,
  expectName,
  expectOperator,
  expectWord,
  isOperator,
  isType,
  isWord,
  nested,
  shown,
  skipOperator,
  skipWord,
  syntax,
  take,
} from './cursor.js';
import type { Cursor } from './cursor.js';
import { expression, filterCalls, tuple } from './expressions.js';
import { parameters, target } from './targets.js';

/** Words that begin a statement of Jinja2, those that are not offered too. */
const statementWords = new Set([
  'for',
  'if',
  'block',
  'extends',
  'print',
  'macro',
  'include',
  'from',
  'import',
  'set',
  'with',
  'autoescape',
  'call',
  'filter',
  'generation',
  'break',
  'continue',
]);

/** Reads the end of a block's tag. */
const expectBlockEnd = (c: Cursor): void => {
  if (!isType(c, 'blockEnd')) throw syntax(c, `expected the end of the block, got ${shown(c, current(c))}`);
  c.at++;
};

/** Everything up to a block that begins with one of the words; that word is the current token then. */
const body = (c: Cursor, endWords: ReadonlyArray<string>, opener: string, line: number): Body => {
  expectBlockEnd(c);
  return nested(c, () => statements(c, endWords, opener, line));
};

/** Reads the word that closes a block, and the end of its tag. */
const closeBlock = (c: Cursor, word: string): void => {
  expectWord(c, word);
  expectBlockEnd(c);
};

const ifStatement = (c: Cursor, line: number): Statement => {
  const branches: { test: Expression; body: Body }[] = [];
  const words = ['elif', 'else', 'endif'];
  do {
    const condition = tuple(c, { conditional: false });
    branches.push({ test: condition, body: body(c, words, 'if', line) });
  } while (skipWord(c, 'elif'));
  const otherwise = skipWord(c, 'else') ? body(c, ['endif'], 'if', line) : [];
  closeBlock(c, 'endif');
  return { type: 'if', branches, otherwise, line };
};

const forStatement = (c: Cursor, line: number): Statement => {
  const loopTarget = target(c, false, ['in']);
  expectWord(c, 'in');
  const iterable = tuple(c, { conditional: false, endWords: ['recursive'] });
  const condition = skipWord(c, 'if') ? expression(c) : undefined;
  const recursive = skipWord(c, 'recursive');
  c.loops++;
  const inner = body(c, ['endfor', 'else'], 'for', line);
  c.loops--;
  const otherwise = skipWord(c, 'else') ? body(c, ['endfor'], 'for', line) : [];
  closeBlock(c, 'endfor');
  return {
    type: 'for',
    target: loopTarget,
    iterable,
    ...(condition === undefined ? {} : { test: condition }),
    recursive,
    body: inner,
    otherwise,
    line,
  };
};

const setStatement = (c: Cursor, line: number): Statement => {
  const assigned = target(c, true);
  if (skipOperator(c, '=')) {
    const value = tuple(c);
    expectBlockEnd(c);
    return { type: 'set', target: assigned, value, line };
  }
  const calls = filterCalls(c);
  const inner = body(c, ['endset'], 'set', line);
  closeBlock(c, 'endset');
  return { type: 'setBlock', target: assigned, filters: calls, body: inner, line };
};

const withStatement = (c: Cursor, line: number): Statement => {
  const bindings: (readonly [Target, Expression])[] = [];
  while (!isType(c, 'blockEnd')) {
    if (bindings.length > 0) expectOperator(c, ',');
    const bound = target(c, false);
    expectOperator(c, '=');
    bindings.push([bound, expression(c)]);
  }
  const inner = body(c, ['endwith'], 'with', line);
  closeBlock(c, 'endwith');
  return { type: 'with', bindings, body: inner, line };
};

const macroStatement = (c: Cursor, line: number): Statement => {
  const name = expectName(c);
  const declared = parameters(c);
  const inner = body(c, ['endmacro'], 'macro', line);
  closeBlock(c, 'endmacro');
  return { type: 'macro', name, parameters: declared, body: inner, line };
};

const callStatement = (c: Cursor, line: number): Statement => {
  const declared = isOperator(c, '(') ? parameters(c) : [];
  const call = expression(c);
  if (call.type !== 'call') throw syntax(c, 'expected call', line);
  const inner = body(c, ['endcall'], 'call', line);
  closeBlock(c, 'endcall');
  return { type: 'callBlock', call, parameters: declared, body: inner, line };
};

const filterStatement = (c: Cursor, line: number): Statement => {
  const calls = filterCalls(c, true);
  const inner = body(c, ['endfilter'], 'filter', line);
  closeBlock(c, 'endfilter');
  return { type: 'filterBlock', filters: calls, body: inner, line };
};

const generationStatement = (c: Cursor, line: number): Statement => {
  const inner = body(c, ['endgeneration'], 'generation', line);
  closeBlock(c, 'endgeneration');
  return { type: 'generation', body: inner, line };
};

const printStatement = (c: Cursor, line: number): ReadonlyArray<Statement> => {
  const printed: Statement[] = [];
  do printed.push({ type: 'output', value: expression(c), line });
  while (skipOperator(c, ','));
  expectBlockEnd(c);
  return printed;
};

const leavingStatement = (c: Cursor, line: number, word: 'break' | 'continue'): Statement => {
  if (c.loops === 0) throw syntax(c, `'${word}' outside of a loop`, line);
  expectBlockEnd(c);
  return { type: word, line };
};

/** A body in a scope of its own. */
const scoped = (inner: Body, line: number): Statement => ({ type: 'with', bindings: [], body: inner, line });

/** Whatever it says: text is not HTML here. */
const autoescapeStatement = (c: Cursor, line: number): Statement => {
  expression(c);
  const inner = body(c, ['endautoescape'], 'autoescape', line);
  closeBlock(c, 'endautoescape');
  return scoped(inner, line);
};

/** Nothing can extend the template, so a block stands where it is. */
const blockStatement = (c: Cursor, line: number): Statement => {
  const name = expectName(c);
  while (isType(c, 'name')) c.at++;
  const inner = body(c, ['endblock'], 'block', line);
  expectWord(c, 'endblock');
  if (isWord(c, name)) c.at++;
  expectBlockEnd(c);
  return scoped(inner, line);
};

const unknownStatement = (word: string): string =>
  statementWords.has(word) ? `'${word}' needs other templates; there are none` : `unknown block '${word}'`;

/** A statement, from the word behind `{%`: most often one, of `print` one an expression. */
const statement = (c: Cursor): ReadonlyArray<Statement> => {
  const { line } = current(c);
  if (!isType(c, 'name')) throw syntax(c, `expected the name of a block, got ${shown(c, current(c))}`);
  const word = take(c).value;
  switch (word) {
    case 'if':
      return [ifStatement(c, line)];
    case 'for':
      return [forStatement(c, line)];
    case 'set':
      return [setStatement(c, line)];
    case 'with':
      return [withStatement(c, line)];
    case 'macro':
      return [macroStatement(c, line)];
    case 'call':
      return [callStatement(c, line)];
    case 'filter':
      return [filterStatement(c, line)];
    case 'generation':
      return [generationStatement(c, line)];
    case 'print':
      return printStatement(c, line);
    case 'break':
    case 'continue':
      return [leavingStatement(c, line, word)];
    case 'autoescape':
      return [autoescapeStatement(c, line)];
    case 'block':
      return [blockStatement(c, line)];
    default:
      throw syntax(c, unknownStatement(word), line);
  }
};

/**
 * What follows up to a block that begins with one of the words, or to the end of the template; `opener` of line `openLine` is what
 * such a block would close. A TemplateError where something else stands there.
 */
export const statements = (c: Cursor, endWords: ReadonlyArray<string>, opener?: string, openLine?: number): Body => {
  const result: Statement[] = [];
  while (!atEnd(c)) {
    const token = take(c);
    if (token.type === 'data') {
      result.push({ type: 'data', text: token.value, line: token.line });
    } else if (token.type === 'variableBegin') {
      const value = tuple(c);
      if (!isType(c, 'variableEnd')) throw syntax(c, `expected the end of the expression, got ${shown(c, current(c))}`);
      c.at++;
      result.push({ type: 'output', value, line: token.line });
    } else if (token.type === 'blockBegin') {
      if (endWords.some((word) => isWord(c, word))) return result;
      result.push(...statement(c));
    } else {
      throw syntax(c, `unexpected ${calledAs(token)}`, token.line);
    }
  }
  if (opener !== undefined) throw syntax(c, `'${opener}' of line ${openLine ?? 0} is never closed`);
  return result;
};
