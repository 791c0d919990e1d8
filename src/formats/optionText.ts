/** The text of a flag as a value. */
import type { Field } from './closed.js';
import type { FieldKind } from './optionCodecs.js';

/**
 * A flag's text as the value that the field's codec judges: numbers, booleans, lists (JSON or comma-separated) and JSON are
 * read; what cannot be read stays text, so that the codec's error shows what was written.
 */
export const fieldFromText = ({ kind, itemKind, codec }: Field, text: string): unknown => {
  const nullAllowed = codec.is(null);
  if (nullAllowed && /^(null|none)$/i.test(text.trim())) return null;
  const value = valueFromText(kind, itemKind, text);
  // Of JSON and plain text, what the field can take: a template may be spelt 42.
  return kind === 'json' && !codec.is(value) && codec.is(text) ? text : value;
};

const valueFromText = (kind: FieldKind, itemKind: FieldKind | undefined, text: string): unknown => {
  const trimmed = text.trim();
  switch (kind) {
    case 'number':
    case 'integer': {
      const value = Number(trimmed);
      return trimmed === '' || Number.isNaN(value) ? text : value;
    }
    case 'boolean':
      if (/^(true|yes|on|1)$/i.test(trimmed)) return true;
      if (/^(false|no|off|0)$/i.test(trimmed)) return false;
      return text;
    case 'list':
      if (trimmed.startsWith('[')) return jsonOrText(trimmed);
      return trimmed === ''
        ? []
        : trimmed.split(',').map((part) => valueFromText(itemKind ?? 'string', undefined, part.trim()));
    case 'json':
      return jsonOrText(text);
    case 'texts':
      return [text];
    case 'string':
    case 'enum':
      return text;
  }
};

const jsonOrText = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return text;
  }
};
