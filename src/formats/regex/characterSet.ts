import type { CharacterSet } from './program.js';

/** Whether a character, by its code, belongs to a set. */
export type Belongs = (character: number) => boolean;

const units = 1 << 16;

/** Whether a character belongs to a set: asked of JavaScript once for each character that turns up. */
export const belongsTo = ({ source, code }: CharacterSet, unicode: boolean): Belongs => {
  if (code !== undefined) return (character) => character === code;
  const expression = new RegExp(`^(?:${source})$`, unicode ? 'u' : '');
  const ask = (character: number): boolean => expression.test(String.fromCodePoint(character));
  /** 0 for what has not been asked, 1 for no, 2 for yes. */
  const table = new Uint8Array(units);
  const beyond = new Map<number, boolean>();
  return (character) => {
    if (character >= units) {
      const known = beyond.get(character) ?? ask(character);
      beyond.set(character, known);
      return known;
    }
    const known = table[character] ?? 0;
    if (known !== 0) return known === 2;
    const belongs = ask(character);
    table[character] = belongs ? 2 : 1;
    return belongs;
  };
};
