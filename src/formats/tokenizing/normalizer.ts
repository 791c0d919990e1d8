/** Normalisers of tokenizer.json over aligned text, as the `tokenizers` library defines them. */
import { type Aligned, applyEdits, type Edit, prepend, respell } from './aligned.js';
import { compilePattern, type Pattern, plainPattern } from './pattern.js';

export type Normalize = (aligned: Aligned) => Aligned;

/** A character with what can join it: combining marks, Hangul vowels and finals, joiners. */
const cluster = /[^\p{M}\u1160-\u11FF][\p{M}\u1160-\u11FF]*|[\p{M}\u1160-\u11FF]+/gu;

type Form = 'NFC' | 'NFD' | 'NFKC' | 'NFKD';

/** Every changed cluster is one edit; if the pieces do not add up to the whole (they should), the text is one edit. */
const unicodeForm =
  (form: Form): Normalize =>
  (aligned) => {
    const { text } = aligned;
    const normalized = text.normalize(form);
    if (normalized === text) return aligned;
    if (!aligned.tracked) return respell(aligned, normalized);
    const edits: Edit[] = [];
    let rebuilt = '';
    for (const match of text.matchAll(cluster)) {
      const piece = match[0];
      const changed = piece.normalize(form);
      rebuilt += changed;
      if (changed !== piece) edits.push({ from: match.index, to: match.index + piece.length, text: changed });
    }
    return applyEdits(aligned, rebuilt === normalized ? edits : [{ from: 0, to: text.length, text: normalized }]);
  };

const replacing = ({ regExp, spans }: Pattern, replacement: (match: string) => string): Normalize => {
  const anywhere = regExp === undefined ? undefined : new RegExp(regExp.source, regExp.flags.replace('g', ''));
  return (aligned) => {
    const { text } = aligned;
    if (anywhere?.test(text) === false) return aligned;
    if (regExp !== undefined && !aligned.tracked) return respell(aligned, text.replace(regExp, replacement));
    const found = spans(text);
    const edits: Edit[] = [];
    for (let i = 0; i < found.length; i += 2) {
      const [from = 0, to = 0] = found.slice(i, i + 2);
      const matched = text.slice(from, to);
      const changed = replacement(matched);
      if (changed !== matched) edits.push({ from, to, text: changed });
    }
    return applyEdits(aligned, edits);
  };
};

/** Per character, as Rust's `char::to_lowercase`: no final-sigma rule. */
const lowercase = replacing(plainPattern(/[^\0-@[-`{-\x7f]/gu), (character) => character.toLowerCase());

const stripAccents = replacing(plainPattern(/\p{Mn}+/gu), () => '');

const blank = /\p{White_Space}/u;

/** By hand: an expression that ends in `$` would begin anew at every blank of a long row of them. */
const strip =
  (left: boolean, right: boolean): Normalize =>
  (aligned) => {
    const { text } = aligned;
    let from = 0;
    let to = text.length;
    while (left && from < to && blank.test(text.charAt(from))) from++;
    while (right && from < to && blank.test(text.charAt(to - 1))) to--;
    const edits = [
      { from: 0, to: from, text: '' },
      { from: to, to: text.length, text: '' },
    ].filter((edit) => edit.to > edit.from);
    return edits.length === 0 ? aligned : applyEdits(aligned, edits);
  };

const field = (config: object, name: string): unknown => (config as Record<string, unknown>)[name];

/** A normaliser, or undefined when this one is not covered exactly. */
export const compileNormalizer = (config: unknown): Normalize | undefined => {
  if (config === null || config === undefined) return (aligned) => aligned;
  if (typeof config !== 'object') return undefined;
  const type = field(config, 'type');
  switch (type) {
    case 'Sequence': {
      const parts = field(config, 'normalizers');
      if (!Array.isArray(parts)) return undefined;
      const compiled: Normalize[] = [];
      for (const part of parts as ReadonlyArray<unknown>) {
        const one = compileNormalizer(part);
        if (one === undefined) return undefined;
        compiled.push(one);
      }
      return (aligned) => compiled.reduce((text, normalize) => normalize(text), aligned);
    }
    case 'NFC':
    case 'NFD':
    case 'NFKC':
    case 'NFKD':
      return unicodeForm(type);
    case 'Prepend': {
      const prefix = field(config, 'prepend');
      if (typeof prefix !== 'string') return undefined;
      return (aligned) => prepend(aligned, prefix);
    }
    case 'Replace': {
      const wanted = field(config, 'pattern');
      const content = field(config, 'content');
      const literal = (wanted as { readonly String?: unknown } | null | undefined)?.String;
      // One unit for one unit moves nothing: the commonest case (blanks become ▁) costs no bookkeeping.
      if (typeof literal === 'string' && literal.length === 1 && typeof content === 'string' && content.length === 1) {
        return (aligned) =>
          aligned.text.includes(literal) ? respell(aligned, aligned.text.replaceAll(literal, content)) : aligned;
      }
      const pattern = compilePattern(wanted);
      return pattern === undefined || typeof content !== 'string' ? undefined : replacing(pattern, () => content);
    }
    case 'Lowercase':
      return lowercase;
    case 'Strip':
      return strip(field(config, 'strip_left') === true, field(config, 'strip_right') === true);
    case 'StripAccents':
      return stripAccents;
    default:
      return undefined;
  }
};
