import type { SyntaxOf } from './syntax.js';

/** As `\w` has it without the flags `u` and `i` together. */
const isWord = (unit: number): boolean =>
  (unit >= 0x61 && unit <= 0x7a) || (unit >= 0x41 && unit <= 0x5a) || (unit >= 0x30 && unit <= 0x39) || unit === 0x5f;

/** Whether a position of a text is such a border. */
export const isBorder = (text: string, position: number, border: SyntaxOf<'border'>['at']): boolean => {
  if (border === 'start') return position === 0;
  if (border === 'end') return position === text.length;
  const before = position > 0 && isWord(text.charCodeAt(position - 1));
  const behind = position < text.length && isWord(text.charCodeAt(position));
  return (before !== behind) === (border === 'word');
};
