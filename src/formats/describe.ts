/** A value as an error message shows it: JSON, cut after about `limit` characters, with the type where JSON would hide it. */
export const describe = (value: unknown, limit = 80): string => {
  if (value === undefined) return 'nothing';
  if (typeof value === 'number' && !Number.isFinite(value)) return String(value);
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'bigint' || typeof value === 'symbol') return value.toString();
  if (ArrayBuffer.isView(value)) return `${value.constructor.name} of ${value.byteLength} bytes`;
  let text: string;
  try {
    text = JSON.stringify(typeof value === 'string' && value.length > limit ? value.slice(0, limit + 1) : value);
  } catch {
    // Cycles, BigInts within.
    return Array.isArray(value) ? 'a list' : 'an object';
  }
  return text.length > limit ? `${text.slice(0, limit)}…` : text;
};

/** The kind of a JSON value in a word or two: "a string", "a list of 3", "null". */
export const kindOf = (value: unknown): string => {
  if (value === undefined) return 'nothing';
  if (value === null) return 'null';
  if (Array.isArray(value)) return value.length === 0 ? 'an empty list' : `a list of ${value.length}`;
  if (typeof value === 'object') return 'an object';
  return `a ${typeof value}`;
};
