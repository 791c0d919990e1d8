/**
 * JSON of a model's configuration. Python writes infinities and NaN as bare words, which JSON has none of; transformers 5 writes them
 * as `{ "__float__": "Infinity" }`, and so they are read, and written again.
 */
import { parseJsonExactly } from './writtenNumbers.js';

const word = /[:[,]\s*-?(?:Infinity|NaN)/;
const stringOrWord = /"(?:[^"\\]|\\.)*"|-?(?:Infinity|NaN)/g;

/** The value of a configuration's text, numbers remembered as they were written; throws as JSON.parse. */
export const parseConfigJson = (text: string): unknown =>
  parseJsonExactly(
    word.test(text)
      ? text.replace(stringOrWord, (part) => (part.startsWith('"') ? part : `{"__float__": "${part}"}`))
      : text,
  );
