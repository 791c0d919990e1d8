/**
 * Strings that know where each of their characters came from. A JavaScript string is template text (no origin); a `Traced`
 * is cut into runs of one origin each. Every string operation of templates is written over both.
 */
import { TemplateError } from './templateError.js';

/** Where text came from. Compared by identity: one object a source. */
export interface Origin {
  /** Index into the conversation's messages. */
  readonly message?: number;
  readonly role?: string;
  /** The field of the message (`tools` for tool descriptions). Absent: template text that a message caused. */
  readonly field?: string;
  /** Which weighted stretch of the content; absent outside of all. */
  readonly part?: number;
  /** Inside a generation block. */
  readonly generated?: boolean;
}

/** The run reaches from the end of the one before to `end`. */
export interface Run {
  readonly end: number;
  readonly origin: Origin | undefined;
}

export interface Traced {
  readonly kind: 'traced';
  readonly text: string;
  /** At least one, the last ends where the text ends, neighbours differ in origin. */
  readonly runs: ReadonlyArray<Run>;
  /** Counts as HTML already; see `markup.ts`. */
  readonly markup?: true;
}

export type Text = string | Traced;

/** UTF-16 units that one string of a template may grow to. */
export const longestText = 1 << 24;

export const isText = (value: unknown): value is Text =>
  typeof value === 'string' ||
  (typeof value === 'object' && value !== null && 'kind' in value && value.kind === 'traced');

export const plain = (text: Text): string => (typeof text === 'string' ? text : text.text);

/** The same text without the mark of `markup.ts`. */
export const unmarked = (text: Text): Text => {
  if (typeof text === 'string' || text.markup === undefined) return text;
  const { markup: _, ...rest } = text;
  return rest.runs.some(({ origin }) => origin !== undefined) ? rest : rest.text;
};

export const trace = (text: string, origin: Origin): Text =>
  text === '' ? '' : { kind: 'traced', text, runs: [{ end: text.length, origin }] };

const checkLength = (length: number): void => {
  if (length > longestText) {
    throw new TemplateError('E_TEMPLATE_LIMIT', `a text of the template grew beyond ${longestText} characters`);
  }
};

/** Builds a text of pieces. */
export interface TextBuilder {
  /** Text without an origin of its own takes `otherwise`. */
  readonly add: (text: Text, otherwise?: Origin) => void;
  readonly length: () => number;
  readonly take: () => Text;
}

export const makeTextBuilder = (): TextBuilder => {
  const parts: string[] = [];
  const runs: { end: number; origin: Origin | undefined }[] = [];
  let length = 0;
  const mark = (end: number, origin: Origin | undefined): void => {
    const last = runs.at(-1);
    if (last !== undefined && last.origin === origin) last.end = end;
    else runs.push({ end, origin });
  };
  return {
    add: (text, otherwise) => {
      if (typeof text === 'string') {
        if (text === '') return;
        parts.push(text);
        length += text.length;
        mark(length, otherwise);
      } else if (text.text !== '') {
        parts.push(text.text);
        for (const { end, origin } of text.runs) mark(length + end, origin ?? otherwise);
        length += text.text.length;
      }
      checkLength(length);
    },
    length: () => length,
    take: () => {
      const text = parts.join('');
      return runs.some(({ origin }) => origin !== undefined) ? { kind: 'traced', text, runs } : text;
    },
  };
};

export const concat = (...texts: ReadonlyArray<Text>): Text => {
  if (texts.every((text) => typeof text === 'string')) {
    checkLength(texts.reduce((sum, text) => sum + text.length, 0));
    return texts.join('');
  }
  const builder = makeTextBuilder();
  for (const text of texts) builder.add(text);
  return builder.take();
};

/** UTF-16 positions [from, to). */
export const cut = (text: Text, from: number, to: number): Text => {
  if (typeof text === 'string') return text.slice(from, to);
  if (from <= 0 && to >= text.text.length) return text;
  if (to <= from) return '';
  const runs: Run[] = [];
  for (const { end, origin } of text.runs) {
    if (end <= from) continue;
    runs.push({ end: Math.min(end, to) - from, origin });
    if (end >= to) break;
  }
  const piece = text.text.slice(from, to);
  return runs.some(({ origin }) => origin !== undefined) ? { kind: 'traced', text: piece, runs } : piece;
};

/** What stands for a text as a whole: the origin of its first character that has one. */
const originOf = (text: Text): Origin | undefined =>
  typeof text === 'string' ? undefined : text.runs.find(({ origin }) => origin !== undefined)?.origin;

/** Another spelling of a text: character by character while the length stays, else under the text's first origin. */
export const respelled = (text: Text, spelling: string): Text => {
  if (typeof text === 'string') return spelling;
  if (spelling === text.text) return text;
  if (spelling.length === text.text.length) return { kind: 'traced', text: spelling, runs: text.runs };
  const origin = originOf(text);
  return origin === undefined ? spelling : trace(spelling, origin);
};

const surrogates = /[\uD800-\uDFFF]/;

/** Code points: what Python counts. */
export const codePointLength = (text: Text): number => {
  const string = plain(text);
  if (!surrogates.test(string)) return string.length;
  let length = 0;
  for (const _ of string) length++;
  return length;
};

/** UTF-16 position of each code point, and of the end; undefined when they are the same as code point positions. */
export const codePointStarts = (string: string): ReadonlyArray<number> | undefined => {
  if (!surrogates.test(string)) return undefined;
  const starts: number[] = [];
  let at = 0;
  for (const character of string) {
    starts.push(at);
    at += character.length;
  }
  starts.push(at);
  return starts;
};

/** Characters (code points) as texts. */
export const characters = (text: Text): ReadonlyArray<Text> => {
  const result: Text[] = [];
  const bare = unmarked(text);
  let at = 0;
  for (const character of plain(text)) {
    result.push(cut(bare, at, at + character.length));
    at += character.length;
  }
  return result;
};

export const repeat = (text: Text, times: number): Text => {
  if (times <= 0) return '';
  checkLength(plain(text).length * times);
  if (typeof text === 'string') return text.repeat(times);
  const builder = makeTextBuilder();
  for (let i = 0; i < times; i++) builder.add(text);
  return builder.take();
};

export const join = (separator: Text, texts: ReadonlyArray<Text>): Text => {
  if (typeof separator === 'string' && texts.every((text) => typeof text === 'string')) {
    checkLength(texts.reduce((sum, text) => sum + text.length, separator.length * Math.max(0, texts.length - 1)));
    return texts.join(separator);
  }
  const builder = makeTextBuilder();
  texts.forEach((text, i) => {
    if (i > 0) builder.add(separator);
    builder.add(text);
  });
  return builder.take();
};

/** Python's `str.replace`; `limit` below 0 means all. */
export const replace = (text: Text, from: Text, to: Text, limit = -1): Text => {
  const string = plain(text);
  const wanted = plain(from);
  const builder = makeTextBuilder();
  if (wanted === '') {
    // Between all characters, before the first and behind the last.
    const parts = characters(text);
    let left = limit < 0 ? Infinity : limit;
    for (const part of parts) {
      if (left-- > 0) builder.add(to);
      builder.add(part);
    }
    if (left > 0) builder.add(to);
    return builder.take();
  }
  if (typeof text === 'string' && typeof to === 'string' && limit < 0) {
    const parts = string.split(wanted);
    checkLength(string.length + (parts.length - 1) * (to.length - wanted.length));
    return parts.join(to);
  }
  let at = 0;
  let done = 0;
  for (let found = string.indexOf(wanted); found >= 0 && done !== limit; found = string.indexOf(wanted, at)) {
    builder.add(cut(text, at, found));
    builder.add(to);
    at = found + wanted.length;
    done++;
  }
  if (done === 0) return text;
  builder.add(cut(text, at, string.length));
  return builder.take();
};

/** Each stretch of one origin spelled anew; it keeps its origin. */
export const mapOrigins = (text: Text, spell: (piece: string) => string): Text => {
  if (typeof text === 'string') {
    const spelling = spell(text);
    checkLength(spelling.length);
    return spelling;
  }
  const builder = makeTextBuilder();
  let from = 0;
  for (const { end, origin } of text.runs) {
    builder.add(spell(text.text.slice(from, end)), origin);
    from = end;
  }
  return builder.take();
};
