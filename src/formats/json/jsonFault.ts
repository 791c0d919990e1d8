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

const fault = (text: string, position: number, expected: string, truncated = position >= text.length): JsonFault => ({
  position,
  message: truncated
    ? `the text ends where ${expected} should follow`
    : `${shown(text, position)} stands where ${expected} should`,
  truncated,
});

/** End of the string that starts at `start`, or its fault. */
const stringEnd = (text: string, start: number): number | JsonFault => {
  let at = start + 1;
  for (;;) {
    at = matchAt(plainCharacters, text, at);
    if (text[at] === '"') return at + 1;
    if (text[at] !== '\\') return fault(text, at, at >= text.length ? 'the end of a string' : 'an escape like \\n');
    const next = matchAt(escape, text, at);
    if (next === -1) return fault(text, at, 'a valid escape', matchAt(cutEscape, text, at) !== -1);
    at = next;
  }
};

/** End of the literal or number that starts at `at`, or its fault. */
const bareEnd = (text: string, at: number, expected: string): number | JsonFault => {
  const end = Math.max(matchAt(literal, text, at), matchAt(number, text, at));
  const cut = Math.max(matchAt(cutLiteral, text, at), matchAt(cutNumber, text, at));
  if (end === -1) return fault(text, at, expected, cut !== -1);
  // "1." or "1e" at the very end: the number's whole part matched, but more was begun.
  return end < text.length && cut !== -1 ? fault(text, text.length, 'the rest of a number') : end;
};

type Opening = '{' | '[';

/** What is to come at a position. */
interface Place {
  readonly at: number;
  readonly wants: 'value' | 'value or ]' | 'key' | 'key or }' | 'separator';
}

/** The place behind the space at a position. */
const placeAt = (text: string, at: number, wants: Place['wants']): Place => ({ at: matchAt(space, text, at), wants });

/** Behind what may stand after a value inside another; `open` are those around it, innermost last. */
const afterSeparator = (text: string, { at }: Place, open: Array<Opening>, inside: Opening): Place | JsonFault => {
  const c = text[at];
  if (c === ',') return placeAt(text, at + 1, inside === '{' ? 'key' : 'value');
  if (c !== (inside === '{' ? '}' : ']')) return fault(text, at, inside === '{' ? '"," or "}"' : '"," or "]"');
  open.pop();
  return placeAt(text, at + 1, 'separator');
};

/** Behind a key and its colon, or the end of an empty object. */
const afterKey = (text: string, { at, wants }: Place, open: Array<Opening>): Place | JsonFault => {
  const c = text[at];
  if (c === '}' && wants === 'key or }') {
    open.pop();
    return placeAt(text, at + 1, 'separator');
  }
  if (c !== '"') return fault(text, at, wants === 'key' ? 'a key in double quotes' : 'a key in double quotes or "}"');
  const end = stringEnd(text, at);
  if (typeof end !== 'number') return end;
  const colon = matchAt(space, text, end);
  return text[colon] === ':' ? placeAt(text, colon + 1, 'value') : fault(text, colon, '":"');
};

/** Behind a value, of an object or array its opening, or the end of an empty array. */
const afterValue = (text: string, { at, wants }: Place, open: Array<Opening>): Place | JsonFault => {
  const c = text[at];
  if (c === ']' && wants === 'value or ]') {
    open.pop();
    return placeAt(text, at + 1, 'separator');
  }
  if (c === '{' || c === '[') {
    open.push(c);
    return placeAt(text, at + 1, c === '{' ? 'key or }' : 'value or ]');
  }
  const end = c === '"' ? stringEnd(text, at) : bareEnd(text, at, wants === 'value' ? 'a value' : 'a value or "]"');
  return typeof end === 'number' ? placeAt(text, end, 'separator') : end;
};

/** The first fault of the text as one JSON value, or undefined when there is none. Linear, and not recursive. */
export const jsonFault = (text: string): JsonFault | undefined => {
  const open: Array<Opening> = [];
  let place = placeAt(text, 0, 'value');
  for (;;) {
    let next: Place | JsonFault;
    if (place.wants === 'separator') {
      const inside = open.at(-1);
      if (inside === undefined) return place.at >= text.length ? undefined : fault(text, place.at, 'the end');
      next = afterSeparator(text, place, open, inside);
    } else if (place.wants === 'key' || place.wants === 'key or }') next = afterKey(text, place, open);
    else next = afterValue(text, place, open);
    if ('message' in next) return next;
    place = next;
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
