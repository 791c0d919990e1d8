/** Objects of JSON: neither lists nor null, nor the typed arrays that readers of columns give. */

export type JsonRecord = Readonly<Record<string, unknown>>;

export const isJsonRecord = (value: unknown): value is JsonRecord =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);

/** The fields of an object; none of anything else. */
export const fieldsOf = (value: unknown): JsonRecord => (isJsonRecord(value) ? value : {});
