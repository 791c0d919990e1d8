/**
 * TensorBoard's event files, as TensorFlow writes them: records of `length, crc of length, bytes, crc of bytes`, each crc a masked
 * CRC-32C, each record one protocol buffer `Event` (tensorflow/core/util/event.proto). Only the fields that scalars and texts need.
 */

const table = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte;
  for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  return crc >>> 0;
});

/** CRC-32C (Castagnoli, RFC 3720) of some bytes. */
export const crc32c = (bytes: Uint8Array): number => {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (table[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
};

/** A checksum that may itself be stored beside what it sums up. */
export const masked = (crc: number): number => (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;

export interface TfEvent {
  /** Seconds since 1970. */
  readonly wallTime: number;
  readonly step?: number;
  /** Only in the first event of a file: `brain.Event:2`. */
  readonly fileVersion?: string;
  /** Numbers by tag. */
  readonly scalars?: Readonly<Record<string, number>>;
  /** Markdown by tag. */
  readonly texts?: Readonly<Record<string, string>>;
  /** The run begins anew at `step`: what the files before hold from there on counts no more. */
  readonly restarts?: boolean;
}

// --- protocol buffers: a field is its number and wire type, then the value -----------------------------------------------------

type Bytes = Uint8Array;

const joined = (parts: ReadonlyArray<Bytes>): Bytes => {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
};

const varint = (value: number): Bytes => {
  const bytes: Array<number> = [];
  let rest = value;
  while (rest >= 0x80) {
    bytes.push((rest % 0x80) | 0x80);
    rest = Math.floor(rest / 0x80);
  }
  return Uint8Array.of(...bytes, rest);
};

const wire = { varint: 0, double: 1, bytes: 2, float: 5 } as const;

const key = (field: number, type: keyof typeof wire): Bytes => varint(field * 8 + wire[type]);

const fixed = (size: 4 | 8, write: (view: DataView) => void): Bytes => {
  const bytes = new Uint8Array(size);
  write(new DataView(bytes.buffer));
  return bytes;
};

const whole = (field: number, value: number): Bytes => joined([key(field, 'varint'), varint(value)]);
const double = (field: number, value: number): Bytes =>
  joined([key(field, 'double'), fixed(8, (view) => view.setFloat64(0, value, true))]);
const float = (field: number, value: number): Bytes =>
  joined([key(field, 'float'), fixed(4, (view) => view.setFloat32(0, value, true))]);
const nested = (field: number, ...parts: ReadonlyArray<Bytes>): Bytes => {
  const body = joined(parts);
  return joined([key(field, 'bytes'), varint(body.length), body]);
};
const text = (field: number, value: string): Bytes => nested(field, new TextEncoder().encode(value));

/** Summary.Value { tag = 1, simple_value = 2 } */
const scalar = (tag: string, value: number): Bytes => nested(1, text(1, tag), float(2, value));

/** Summary.Value { tag = 1, tensor = 8 { dtype = 1, tensor_shape = 2 { dim = 2 { size = 1 } }, string_val = 8 }, metadata = 9 } */
const textValue = (tag: string, value: string): Bytes =>
  nested(
    1,
    text(1, tag),
    nested(8, whole(1, 7), nested(2, nested(2, whole(1, 1))), text(8, value)),
    nested(9, nested(1, text(1, 'text'))),
  );

/** Event { wall_time = 1, step = 2, file_version = 3, summary = 5, session_log = 7 { status = 1: START } } */
const encodeEvent = ({ wallTime, step, fileVersion, scalars = {}, texts = {}, restarts = false }: TfEvent): Bytes => {
  const values = [
    ...Object.entries(scalars).map(([tag, value]) => scalar(tag, value)),
    ...Object.entries(texts).map(([tag, value]) => textValue(tag, value)),
  ];
  return joined([
    double(1, wallTime),
    ...(step === undefined ? [] : [whole(2, step)]),
    ...(fileVersion === undefined ? [] : [text(3, fileVersion)]),
    ...(values.length === 0 ? [] : [nested(5, ...values)]),
    ...(restarts ? [nested(7, whole(1, 1))] : []),
  ]);
};

const checksum = (bytes: Bytes): Bytes => fixed(4, (view) => view.setUint32(0, masked(crc32c(bytes)), true));

/** An event as it stands in the file, its length and checksums around it. */
export const eventRecord = (event: TfEvent): Uint8Array => {
  const body = encodeEvent(event);
  const length = fixed(8, (view) => view.setBigUint64(0, BigInt(body.length), true));
  return joined([length, checksum(length), body, checksum(body)]);
};
