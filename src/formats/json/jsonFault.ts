/** Where JSON text breaks, told the same way on every JavaScript engine: `JSON.parse` names the position in some versions only. */
export interface JsonFault {
  /** UTF-16 index of the character that cannot stand there; the length of the text when it ends too early. */
  readonly position: number;
  readonly message: string;
  /** True when more text could have made it right. */
  readonly truncated: boolean;
}

const space = /[ \t\n\r]*/y;
const literal = /true|false|null/y;
const number = /-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?/y;
// eslint-disable-next-line no-control-regex -- JSON forbids raw control characters in strings
const plainCharacters = /[^"\\\u0000-\u001f]*/y;
const escape = /\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})/y;
/** What may stand at the very end of a text that was cut inside a value. */
const cutLiteral = /(?:t|tr|tru|f|fa|fal|fals|n|nu|nul)$/y;
const cutNumber = /-?(?:0|[1-9]\d*)?(?:\.|(?:\.\d+)?[eE][+-]?)?$/y;
const cutEscape = /\\(?:u[0-9a-fA-F]{0,3})?$/y;

const matchAt = (pattern: RegExp, text: string, at: number): number => {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : -1;
};

const shown = (text: string, at: number): string => {
  const point = text.codePointAt(at) ?? 0;
  return point < 0x20
    ? `control character U+${point.toString(16).padStart(4, '0')}`
    : JSON.stringify(String.fromCodePoint(point));
};

/** The first fault of the text as one JSON value, or undefined when there is none. Linear, and not recursive. */
export const jsonFault = (text: string): JsonFault | undefined => {
  const fault = (position: number, expected: string, truncated = position >= text.length): JsonFault => ({
    position,
    message: truncated
      ? `the text ends where ${expected} should follow`
      : `${shown(text, position)} stands where ${expected} should`,
    truncated,
  });
  /** End of the string that starts at `at`, or its fault. */
  const stringEnd = (start: number): number | JsonFault => {
    let at = start + 1;
    for (;;) {
      at = matchAt(plainCharacters, text, at);
      if (text[at] === '"') return at + 1;
      if (text[at] !== '\\') return fault(at, at >= text.length ? 'the end of a string' : 'an escape like \\n');
      const next = matchAt(escape, text, at);
      if (next === -1) return fault(at, 'a valid escape', matchAt(cutEscape, text, at) !== -1);
      at = next;
    }
  };

  const open: Array<'{' | '['> = [];
  let at = matchAt(space, text, 0);
  let wants: 'value' | 'value or ]' | 'key' | 'key or }' | 'separator' = 'value';
  for (;;) {
    const c = text[at];
    if (wants === 'separator') {
      const inside = open[open.length - 1];
      if (inside === undefined) return c === undefined ? undefined : fault(at, 'the end');
      if (c === ',') wants = inside === '{' ? 'key' : 'value';
      else if (c === (inside === '{' ? '}' : ']')) open.pop();
      else return fault(at, inside === '{' ? '"," or "}"' : '"," or "]"');
      at = matchAt(space, text, at + 1);
      continue;
    }
    if (wants === 'key' || wants === 'key or }') {
      if (c === '}' && wants === 'key or }') {
        open.pop();
        wants = 'separator';
        at = matchAt(space, text, at + 1);
        continue;
      }
      if (c !== '"') return fault(at, wants === 'key' ? 'a key in double quotes' : 'a key in double quotes or "}"');
      const end = stringEnd(at);
      if (typeof end !== 'number') return end;
      at = matchAt(space, text, end);
      if (text[at] !== ':') return fault(at, '":"');
      at = matchAt(space, text, at + 1);
      wants = 'value';
      continue;
    }
    if (c === ']' && wants === 'value or ]') {
      open.pop();
      wants = 'separator';
      at = matchAt(space, text, at + 1);
      continue;
    }
    if (c === '{' || c === '[') {
      open.push(c);
      wants = c === '{' ? 'key or }' : 'value or ]';
      at = matchAt(space, text, at + 1);
      continue;
    }
    let end: number;
    if (c === '"') {
      const closing = stringEnd(at);
      if (typeof closing !== 'number') return closing;
      end = closing;
    } else {
      end = Math.max(matchAt(literal, text, at), matchAt(number, text, at));
      const cut = Math.max(matchAt(cutLiteral, text, at), matchAt(cutNumber, text, at));
      if (end === -1) return fault(at, wants === 'value' ? 'a value' : 'a value or "]"', cut !== -1);
      // "1." or "1e" at the very end: the number's whole part matched, but more was begun.
      if (end < text.length && cut !== -1) return fault(text.length, 'the rest of a number');
    }
    wants = 'separator';
    at = matchAt(space, text, end);
  }
};

/** 1-based line and column of a position. */
export const lineAndColumn = (text: string, position: number): { readonly line: number; readonly column: number } => {
  const before = text.slice(0, position);
  const start = before.lastIndexOf('\n') + 1;
  let line = 1;
  for (let at = before.indexOf('\n'); at !== -1; at = before.indexOf('\n', at + 1)) line++;
  return { line, column: position - start + 1 };
};

/** A few characters around a position, for messages. */
export const excerptAt = (text: string, position: number): string => {
  const from = Math.max(0, position - 30);
  const to = Math.min(text.length, position + 30);
  return `${from > 0 ? '…' : ''}${text.slice(from, to).replace(/\s+/g, ' ')}${to < text.length ? '…' : ''}`;
};
