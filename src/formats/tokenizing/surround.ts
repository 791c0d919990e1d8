import type { Tokenizer } from './tokenizer.js';

/** Ids that a tokenizer puts around a text. */
export interface Surround {
  readonly prefix: Int32Array;
  readonly suffix: Int32Array;
}

/** What `addSpecialTokens` adds in front of a text and behind it, seen at a text of one letter. */
export const surroundOf = ({ encode }: Pick<Tokenizer, 'encode'>): Surround => {
  const text = 'a';
  const own = encode(text, { addSpecialTokens: false });
  const whole = encode(text, { addSpecialTokens: true });
  let start = 0;
  while (start + own.length < whole.length && own.some((id, t) => whole[start + t] !== id)) start++;
  return { prefix: whole.slice(0, start), suffix: whole.slice(start + own.length) };
};
