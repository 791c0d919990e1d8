/**
 * Jinja2's lexer with `trim_blocks` and `lstrip_blocks` on, as transformers sets it: line ends become \n, one at the very end
 * goes, the newline behind a block and the blanks before a block that begins its line are not text.
 */
import { TemplateError } from './templateError.js';

export type TokenType =
  | 'data'
  | 'variableBegin'
  | 'variableEnd'
  | 'blockBegin'
  | 'blockEnd'
  | 'name'
  | 'string'
  | 'integer'
  | 'float'
  | 'operator';

export interface Token {
  readonly type: TokenType;
  /** Text of a name, operator or data; value of a string; digits of a number. */
  readonly value: string;
  readonly line: number;
}

/** White space as Python's `str` knows it. */
export const pythonSpace = '\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000';

const begin = /\{%[-+]?|\{\{[-+]?|\{#[-+]?/g;
const rawBegin = new RegExp(`\\{%[-+]?[${pythonSpace}]*raw[${pythonSpace}]*(?:-%\\}[${pythonSpace}]*|%\\})`, 'uy');
const rawEnd = new RegExp(
  `\\{%([-+]?)[${pythonSpace}]*endraw[${pythonSpace}]*(?:\\+%\\}|-%\\}[${pythonSpace}]*|%\\}\\n?)`,
  'gu',
);
const commentEnd = new RegExp(`\\+#\\}|-#\\}[${pythonSpace}]*|#\\}\\n?`, 'gu');
const blockEnd = new RegExp(`(?:\\+%\\}|-%\\}[${pythonSpace}]*|%\\}\\n?)`, 'uy');
const variableEnd = new RegExp(`-\\}\\}[${pythonSpace}]*|\\}\\}`, 'uy');
const blanks = new RegExp(`[${pythonSpace}]+`, 'uy');
const onlyBlanks = new RegExp(`^[${pythonSpace}]+$`, 'u');
const blanksAtEnd = new RegExp(`[${pythonSpace}]+$`, 'u');
const float = /(?<!\.)(?:\d+_)*\d+(?:(?:\.(?:\d+_)*\d+)?[eE][+-]?(?:\d+_)*\d+|\.(?:\d+_)*\d+)/y;
const integer = /0[bB](?:_?[01])+|0[oO](?:_?[0-7])+|0[xX](?:_?[\dA-Fa-f])+|[1-9](?:_?\d)*|0(?:_?0)*/y;
const name = /[\p{L}\p{Nl}_][\p{L}\p{Nl}\p{M}\p{Nd}\p{Pc}_]*/uy;
const string = /'[^'\\]*(?:\\[\s\S][^'\\]*)*'|"[^"\\]*(?:\\[\s\S][^"\\]*)*"/y;
const operator = /\/\/|\*\*|==|!=|>=|<=|[-+/*%~[\](){}><=.:|,;]/y;

const closing: Readonly<Record<string, string>> = { '(': ')', '[': ']', '{': '}' };

const simpleEscapes: Readonly<Record<string, string>> = {
  '\n': '',
  '\\': '\\',
  "'": "'",
  '"': '"',
  a: '\x07',
  b: '\b',
  f: '\f',
  n: '\n',
  r: '\r',
  t: '\t',
  v: '\v',
};

/** Python's `unicode-escape`. */
const unescape = (body: string, line: number): string => {
  if (!body.includes('\\')) return body;
  return body.replace(
    /\\(?:x([\dA-Fa-f]{2})|u([\dA-Fa-f]{4})|U([\dA-Fa-f]{8})|([0-7]{1,3})|([\s\S]))/g,
    (whole, x?: string, u?: string, long?: string, octal?: string, one?: string) => {
      if (octal !== undefined) return String.fromCharCode(Number.parseInt(octal, 8));
      const hex = x ?? u ?? long;
      if (hex !== undefined) {
        const code = Number.parseInt(hex, 16);
        if (code > 0x10ffff) throw new TemplateError('E_TEMPLATE_SYNTAX', `illegal character ${whole}`, line);
        return String.fromCodePoint(code);
      }
      if (one === 'x' || one === 'u' || one === 'U') {
        throw new TemplateError('E_TEMPLATE_SYNTAX', `truncated escape \\${one}`, line);
      }
      return simpleEscapes[one ?? ''] ?? whole;
    },
  );
};

const matchAt = (pattern: RegExp, source: string, at: number): string | undefined => {
  pattern.lastIndex = at;
  return pattern.exec(source)?.[0];
};

/** The template being read. */
interface Reading {
  readonly source: string;
  readonly tokens: Array<Token>;
  at: number;
  line: number;
  /** Whether the text at `at` begins a line of the template. */
  lineStarting: boolean;
}

const advance = (reading: Reading, text: string): void => {
  reading.at += text.length;
  for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) reading.line++;
};

const add = ({ tokens, line }: Reading, type: TokenType, value = ''): void => {
  tokens.push({ type, value, line });
};

const syntax = ({ line }: Reading, message: string): TemplateError =>
  new TemplateError('E_TEMPLATE_SYNTAX', message, line);

/** Text before a tag, as the tag's sign and `lstrip_blocks` leave it. */
const stripped = (text: string, sign: string, strips: boolean, lineStarting: boolean): string => {
  if (sign === '-') return text.replace(blanksAtEnd, '');
  if (sign === '+' || !strips) return text;
  const lineStart = text.lastIndexOf('\n') + 1;
  if (lineStart === 0 && !lineStarting) return text;
  return onlyBlanks.test(text.slice(lineStart)) ? text.slice(0, lineStart) : text;
};

const data = (reading: Reading, text: string): void => {
  if (text !== '') add(reading, 'data', text);
};

const withoutUnderscores = (digits: string): string => digits.replaceAll('_', '');

/** What stands in a tag between blanks, in the order in which it is tried; a sign comes last. */
const words: ReadonlyArray<readonly [TokenType, RegExp, (text: string, line: number) => string]> = [
  ['float', float, withoutUnderscores],
  ['integer', integer, withoutUnderscores],
  ['name', name, (text) => text],
  ['string', string, (text, line) => unescape(text.slice(1, -1), line)],
];

/** Whether a word or number stood here. */
const word = (reading: Reading): boolean => {
  for (const [type, pattern, valueOf] of words) {
    const text = matchAt(pattern, reading.source, reading.at);
    if (text === undefined) continue;
    add(reading, type, valueOf(text, reading.line));
    advance(reading, text);
    return true;
  }
  return false;
};

/** A sign; `open` are the signs that close the brackets which are open. */
const sign = (reading: Reading, open: Array<string>): void => {
  const { source, at } = reading;
  const text = matchAt(operator, source, at);
  if (text === undefined) throw syntax(reading, `unexpected character ${JSON.stringify(source[at])}`);
  const closes = closing[text];
  if (closes !== undefined) {
    open.push(closes);
  } else if (text === ')' || text === ']' || text === '}') {
    const expected = open.pop();
    if (expected === undefined) throw syntax(reading, `unexpected '${text}'`);
    if (expected !== text) throw syntax(reading, `unexpected '${text}', expected '${expected}'`);
  }
  add(reading, 'operator', text);
  advance(reading, text);
};

interface Tag {
  readonly begin: TokenType;
  readonly end: TokenType;
  readonly ending: RegExp;
  /** For messages. */
  readonly what: string;
}

const expressionTag: Tag = { begin: 'variableBegin', end: 'variableEnd', ending: variableEnd, what: 'expression' };
const blockTag: Tag = { begin: 'blockBegin', end: 'blockEnd', ending: blockEnd, what: 'block' };

/** A whole tag of tokens, from behind its opening on. */
const insideTag = (reading: Reading, { end, ending, what }: Tag): void => {
  const open: Array<string> = [];
  for (;;) {
    if (reading.at >= reading.source.length) throw syntax(reading, `the ${what} is never closed`);
    const ended = open.length === 0 ? matchAt(ending, reading.source, reading.at) : undefined;
    if (ended !== undefined) {
      add(reading, end);
      advance(reading, ended);
      reading.lineStarting = ended.endsWith('\n');
      return;
    }
    const blank = matchAt(blanks, reading.source, reading.at);
    if (blank !== undefined) advance(reading, blank);
    else if (!word(reading)) sign(reading, open);
  }
};

/** What comes before the pattern's next match, and that. */
const upTo = (reading: Reading, pattern: RegExp, unclosed: string): readonly [string, RegExpExecArray] => {
  pattern.lastIndex = reading.at;
  const ending = pattern.exec(reading.source);
  if (ending === null) throw syntax(reading, unclosed);
  return [reading.source.slice(reading.at, ending.index), ending];
};

const rawText = (reading: Reading, opening: string): void => {
  advance(reading, opening);
  const [body, ending] = upTo(reading, rawEnd, "'raw' is never closed");
  data(reading, stripped(body, ending[1] ?? '', true, opening.endsWith('\n')));
  advance(reading, body + ending[0]);
  reading.lineStarting = ending[0].endsWith('\n');
};

const comment = (reading: Reading, opening: string): void => {
  advance(reading, opening);
  const [body, ending] = upTo(reading, commentEnd, 'a comment is never closed');
  advance(reading, body + ending[0]);
  reading.lineStarting = ending[0].endsWith('\n');
};

const tag = (reading: Reading, opening: string, kind: Tag): void => {
  add(reading, kind.begin);
  advance(reading, opening);
  insideTag(reading, kind);
};

export const lex = (template: string): ReadonlyArray<Token> => {
  const source = template.replace(/\r\n?/g, '\n').replace(/\n$/, '');
  const reading: Reading = { source, tokens: [], at: 0, line: 1, lineStarting: true };
  while (reading.at < source.length) {
    begin.lastIndex = reading.at;
    const found = begin.exec(source);
    if (found === null) {
      data(reading, source.slice(reading.at));
      break;
    }
    const opening = found[0];
    const text = source.slice(reading.at, found.index);
    data(reading, stripped(text, opening.slice(2), !opening.startsWith('{{'), reading.lineStarting));
    advance(reading, text);
    const raw = opening.startsWith('{%') ? matchAt(rawBegin, source, reading.at) : undefined;
    if (raw !== undefined) rawText(reading, raw);
    else if (opening.startsWith('{#')) comment(reading, opening);
    else tag(reading, opening, opening.startsWith('{{') ? expressionTag : blockTag);
  }
  return reading.tokens;
};
