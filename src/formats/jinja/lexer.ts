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

export const lex = (template: string): ReadonlyArray<Token> => {
  let source = template.replace(/\r\n?/g, '\n');
  if (source.endsWith('\n')) source = source.slice(0, -1);
  const tokens: Token[] = [];
  let at = 0;
  let line = 1;
  // Whether the text at `at` begins a line of the template.
  let lineStarting = true;
  const advance = (text: string): void => {
    at += text.length;
    for (let i = text.indexOf('\n'); i >= 0; i = text.indexOf('\n', i + 1)) line++;
  };
  const syntax = (message: string): TemplateError => new TemplateError('E_TEMPLATE_SYNTAX', message, line);

  /** Text before a tag, as the tag's sign and `lstrip_blocks` leave it. */
  const before = (text: string, sign: string, strips: boolean): string => {
    if (sign === '-') return text.replace(blanksAtEnd, '');
    if (sign === '+' || !strips) return text;
    const lineStart = text.lastIndexOf('\n') + 1;
    if (lineStart === 0 && !lineStarting) return text;
    return onlyBlanks.test(text.slice(lineStart)) ? text.slice(0, lineStart) : text;
  };

  const inside = (end: RegExp, endType: 'variableEnd' | 'blockEnd', what: string): void => {
    const open: string[] = [];
    for (;;) {
      if (at >= source.length) throw syntax(`the ${what} is never closed`);
      if (open.length === 0) {
        const ending = matchAt(end, source, at);
        if (ending !== undefined) {
          tokens.push({ type: endType, value: '', line });
          advance(ending);
          lineStarting = ending.endsWith('\n');
          return;
        }
      }
      const blank = matchAt(blanks, source, at);
      if (blank !== undefined) {
        advance(blank);
        continue;
      }
      const number = matchAt(float, source, at);
      if (number !== undefined) {
        tokens.push({ type: 'float', value: number.replaceAll('_', ''), line });
        advance(number);
        continue;
      }
      const digits = matchAt(integer, source, at);
      if (digits !== undefined) {
        tokens.push({ type: 'integer', value: digits.replaceAll('_', ''), line });
        advance(digits);
        continue;
      }
      const word = matchAt(name, source, at);
      if (word !== undefined) {
        tokens.push({ type: 'name', value: word, line });
        advance(word);
        continue;
      }
      const quoted = matchAt(string, source, at);
      if (quoted !== undefined) {
        tokens.push({ type: 'string', value: unescape(quoted.slice(1, -1), line), line });
        advance(quoted);
        continue;
      }
      const sign = matchAt(operator, source, at);
      if (sign === undefined) throw syntax(`unexpected character ${JSON.stringify(source[at])}`);
      const closes = closing[sign];
      if (closes !== undefined) {
        open.push(closes);
      } else if (sign === ')' || sign === ']' || sign === '}') {
        const expected = open.pop();
        if (expected === undefined) throw syntax(`unexpected '${sign}'`);
        if (expected !== sign) throw syntax(`unexpected '${sign}', expected '${expected}'`);
      }
      tokens.push({ type: 'operator', value: sign, line });
      advance(sign);
    }
  };

  const data = (text: string): void => {
    if (text !== '') tokens.push({ type: 'data', value: text, line });
  };

  while (at < source.length) {
    begin.lastIndex = at;
    const found = begin.exec(source);
    if (found === null) {
      data(source.slice(at));
      break;
    }
    const tag = found[0];
    const sign = tag.slice(2);
    const text = source.slice(at, found.index);
    data(before(text, sign, !tag.startsWith('{{')));
    advance(text);
    const raw = tag.startsWith('{%') ? matchAt(rawBegin, source, at) : undefined;
    if (raw !== undefined) {
      advance(raw);
      rawEnd.lastIndex = at;
      const ending = rawEnd.exec(source);
      if (ending === null) throw syntax("'raw' is never closed");
      const body = source.slice(at, ending.index);
      lineStarting = raw.endsWith('\n');
      data(before(body, ending[1] ?? '', true));
      advance(body);
      advance(ending[0]);
      lineStarting = ending[0].endsWith('\n');
    } else if (tag.startsWith('{#')) {
      advance(tag);
      commentEnd.lastIndex = at;
      const ending = commentEnd.exec(source);
      if (ending === null) throw syntax('a comment is never closed');
      advance(source.slice(at, ending.index));
      advance(ending[0]);
      lineStarting = ending[0].endsWith('\n');
    } else if (tag.startsWith('{{')) {
      tokens.push({ type: 'variableBegin', value: '', line });
      advance(tag);
      inside(variableEnd, 'variableEnd', 'expression');
    } else {
      tokens.push({ type: 'blockBegin', value: '', line });
      advance(tag);
      inside(blockEnd, 'blockEnd', 'block');
    }
  }
  return tokens;
};
