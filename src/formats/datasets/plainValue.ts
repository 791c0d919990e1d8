/** A column's value as JSON would have it: whole numbers as numbers, moments as ISO text, typed arrays as lists. */
export const plainValue = (value: unknown): unknown => {
  if (typeof value === 'bigint') {
    return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value.toString();
  }
  if (typeof value !== 'object' || value === null) return value;
  if (Array.isArray(value)) return value.map(plainValue);
  if (ArrayBuffer.isView(value)) return Array.from(value as Uint8Array, plainValue);
  if ('toISOString' in value && typeof value.toISOString === 'function') return String(value.toISOString.call(value));
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plainValue(inner)]));
};
