/**
 * JSON of a model's configuration. Python writes infinities and NaN as bare words, which JSON has none of; transformers 5 writes them
 * as `{ "__float__": "Infinity" }`, and so they are read, and written again.
 */
import type { JsonReader } from './json.js';
import { jsonFault } from './jsonFault.js';
import { parseJsonExactly } from './writtenNumbers.js';

const word = /[:[,]\s*-?(?:Infinity|NaN)/;
const stringOrWord = /"(?:[^"\\]|\\.)*"|-?(?:Infinity|NaN)/g;

/** The text with something else for each of Python's words. */
const without = (text: string, inPlace: (word: string) => string): string =>
  word.test(text) ? text.replace(stringOrWord, (part) => (part.startsWith('"') ? part : inPlace(part))) : text;

/** The value of a configuration's text, numbers remembered as they were written; throws as JSON.parse. */
export const parseConfigJson = (text: string): unknown =>
  parseJsonExactly(without(text, (part) => `{"__float__": "${part}"}`));

export const configJson: JsonReader = {
  parse: parseConfigJson,
  // Numbers as long as the words: every fault stays where it is.
  fault: (text) => jsonFault(without(text, (part) => '0'.padEnd(part.length))),
};
