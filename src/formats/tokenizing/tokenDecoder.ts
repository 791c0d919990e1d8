/** Decoders of tokenizer.json: token strings → text, as the `tokenizers` library joins them. */
import { fieldsOf } from '../json/jsonRecord.js';
import { compilePattern } from './pattern.js';
import { bytesOfToken } from './tokenBytes.js';

type Chain = (tokens: ReadonlyArray<string>) => ReadonlyArray<string>;

const encoder = new TextEncoder();
const lossy = new TextDecoder('utf-8', { ignoreBOM: true });
const strict = new TextDecoder('utf-8', { ignoreBOM: true, fatal: true });

const byteLevel: Chain = (tokens) => {
  const bytes: number[] = [];
  for (const token of tokens) for (const byte of bytesOfToken(token) ?? encoder.encode(token)) bytes.push(byte);
  return [lossy.decode(Uint8Array.from(bytes))];
};

const byteTokenPattern = /^<0x([0-9A-Fa-f]{2})>$/;

/** A run of byte tokens is text if it is UTF-8 as a whole, else one U+FFFD a byte. */
const byteFallback: Chain = (tokens) => {
  const result: string[] = [];
  let run: number[] = [];
  const flush = (): void => {
    if (run.length === 0) return;
    try {
      result.push(strict.decode(Uint8Array.from(run)));
    } catch {
      result.push('\uFFFD'.repeat(run.length));
    }
    run = [];
  };
  for (const token of tokens) {
    const byte = token.length === 6 ? byteTokenPattern.exec(token)?.[1] : undefined;
    if (byte === undefined) {
      flush();
      result.push(token);
    } else {
      run.push(Number.parseInt(byte, 16));
    }
  }
  flush();
  return result;
};

const strip =
  (content: string, start: number, stop: number): Chain =>
  (tokens) =>
    tokens.map((token) => {
      let from = 0;
      while (from < start && token[from] === content) from++;
      let to = token.length;
      for (let i = 0; i < stop && to > from && token[to - 1] === content; i++) to--;
      return token.slice(from, to);
    });

/** Marks become blanks; those of the first token go, when the pre-tokeniser put one there. */
const metaspace =
  (mark: string, prepended: boolean): Chain =>
  (tokens) =>
    tokens.map((token, i) => token.replaceAll(mark, i === 0 && prepended ? '' : ' '));

/** What the file asks for, not what transformers' `clean_up_tokenization_spaces` would do to the text. */
const cleanUp = (text: string): string =>
  [' .', ' ?', ' !', ' ,']
    .reduce((current, sign) => current.replaceAll(sign, sign.slice(1)), text)
    .replaceAll(" ' ", "'")
    .replaceAll(" n't", "n't")
    .replaceAll(" 'm", "'m")
    .replaceAll(' do not', " don't")
    .replaceAll(" 's", "'s")
    .replaceAll(" 've", "'ve")
    .replaceAll(" 're", "'re");

const wordPiece =
  (prefix: string, cleanup: boolean): Chain =>
  (tokens) =>
    tokens.map((token, i) => {
      const text = i === 0 ? token : token.startsWith(prefix) ? token.slice(prefix.length) : ` ${token}`;
      return cleanup ? cleanUp(text) : text;
    });

const replaced = (token: string, spans: ReadonlyArray<number>, content: string): string => {
  let text = '';
  let at = 0;
  for (let i = 0; i < spans.length; i += 2) {
    text += token.slice(at, spans[i]) + content;
    at = spans[i + 1] ?? at;
  }
  return text + token.slice(at);
};

const compileChain = (config: unknown): Chain | undefined => {
  const fields = fieldsOf(config);
  switch (fields['type']) {
    case 'ByteLevel':
      return byteLevel;
    case 'ByteFallback':
      return byteFallback;
    case 'Fuse':
      return (tokens) => [tokens.join('')];
    case 'Replace': {
      const pattern = compilePattern(fields['pattern']);
      const content = fields['content'];
      if (pattern === undefined || typeof content !== 'string') return undefined;
      return (tokens) => tokens.map((token) => replaced(token, pattern.spans(token), content));
    }
    case 'Strip': {
      const { content, start, stop } = fields;
      if (typeof content !== 'string' || typeof start !== 'number' || typeof stop !== 'number') return undefined;
      return strip(content, start, stop);
    }
    case 'Metaspace': {
      const mark = typeof fields['replacement'] === 'string' ? fields['replacement'] : '\u2581';
      return metaspace(mark, fields['prepend_scheme'] !== 'never' && fields['add_prefix_space'] !== false);
    }
    case 'WordPiece': {
      const prefix = typeof fields['prefix'] === 'string' ? fields['prefix'] : '##';
      return wordPiece(prefix, fields['cleanup'] !== false);
    }
    case 'Sequence': {
      if (!Array.isArray(fields['decoders'])) return undefined;
      const parts: Chain[] = [];
      for (const part of fields['decoders'] as ReadonlyArray<unknown>) {
        const one = compileChain(part);
        if (one === undefined) return undefined;
        parts.push(one);
      }
      return (tokens) => parts.reduce((current, part) => part(current), tokens);
    }
    default:
      return undefined;
  }
};

/** Tokens → text; undefined for a decoder not covered here. Without a decoder, tokens are joined by blanks. */
export const compileDecoder = (config: unknown): ((tokens: ReadonlyArray<string>) => string) | undefined => {
  if (config === null || config === undefined) return (tokens) => tokens.join(' ');
  const chain = compileChain(config);
  return chain === undefined ? undefined : (tokens) => chain(tokens).join('');
};
