/** Code points of texts that are arrays of UTF-16 units. */

/** Whether a unit is the first of a surrogate pair. */
export const isHighSurrogate = (unit: number): boolean => unit >= 0xd800 && unit <= 0xdbff;

/** Whether a unit is the second of a surrogate pair. */
export const isLowSurrogate = (unit: number): boolean => unit >= 0xdc00 && unit <= 0xdfff;

/** The code point that begins at unit `at`, of well-formed units. */
export const codePointAt = (units: Uint16Array, at: number): number => {
  const unit = units[at] ?? 0;
  return isHighSurrogate(unit) ? 0x10000 + ((unit - 0xd800) << 10) + ((units[at + 1] ?? 0) - 0xdc00) : unit;
};
