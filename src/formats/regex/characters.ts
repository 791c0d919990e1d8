/** Characters of a text as a regular expression counts them: code points with flag `u`, else UTF-16 units. */

const isHigh = (unit: number): boolean => (unit & 0xfc00) === 0xd800;
const isLow = (unit: number): boolean => (unit & 0xfc00) === 0xdc00;

/** The code of the character that begins at a position inside the text. */
export const characterAt = (text: string, position: number, unicode: boolean): number => {
  const unit = text.charCodeAt(position);
  if (!unicode || !isHigh(unit) || position + 1 >= text.length) return unit;
  const low = text.charCodeAt(position + 1);
  return isLow(low) ? 0x10000 + ((unit - 0xd800) << 10) + (low - 0xdc00) : unit;
};

/** The code of the character that ends at a position, which is not the text's beginning. */
export const characterBefore = (text: string, position: number, unicode: boolean): number => {
  const unit = text.charCodeAt(position - 1);
  if (!unicode || !isLow(unit) || position < 2 || !isHigh(text.charCodeAt(position - 2))) return unit;
  return characterAt(text, position - 2, unicode);
};

/** How many units a character takes. */
export const widthOf = (character: number): number => (character > 0xffff ? 2 : 1);
