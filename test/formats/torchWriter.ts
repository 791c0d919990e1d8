/** Pickles and archives as a stranger might put them together, opcode by opcode. */

const text = new TextEncoder();
const le = (value: number, bytes: number): ReadonlyArray<number> => {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, BigInt(value), true);
  return Array.from(new Uint8Array(view.buffer, 0, bytes));
};

export type Part = string | ReadonlyArray<number> | Uint8Array;

/** Parts one after another, texts as Latin-1: so '\x80' is one byte. */
export const joined = (...parts: ReadonlyArray<Part>): Uint8Array =>
  Uint8Array.from(
    parts.flatMap((part) => (typeof part === 'string' ? Array.from(Buffer.from(part, 'latin1')) : Array.from(part))),
  );

export const str = (value: string): Uint8Array => {
  const bytes = text.encode(value);
  return joined('X', le(bytes.length, 4), bytes);
};
/** LONG1 of eight bytes. */
export const long = (value: number): Uint8Array => joined('\x8a\x08', le(value, 8));
export const global = (module: string, name: string): Uint8Array => joined('c', module, '\n', name, '\n');
export const tuple = (...items: ReadonlyArray<Part>): Uint8Array => joined('(', ...items, 't');
export const counts = (values: ReadonlyArray<number>): Uint8Array => tuple(...values.map(long));

export const storage = (key: string, count: number, type = 'FloatStorage'): Uint8Array =>
  joined(tuple(str('storage'), global('torch', type), str(key), str('cpu'), long(count)), 'Q');

export interface TensorParts {
  readonly storage: Part;
  readonly offset?: number;
  readonly shape: ReadonlyArray<number>;
  readonly strides: ReadonlyArray<number>;
}

export const tensor = ({ storage: of, offset = 0, shape, strides }: TensorParts): Uint8Array =>
  joined(
    global('torch._utils', '_rebuild_tensor_v2'),
    tuple(of, long(offset), counts(shape), counts(strides), '\x89', global('collections', 'OrderedDict'), ')R'),
    'R',
  );

export const dict = (entries: ReadonlyArray<readonly [Part, Part]>): Uint8Array => joined('}(', ...entries.flat(), 'u');

export const pickle = (...parts: ReadonlyArray<Part>): Uint8Array => joined('\x80\x02', ...parts, '.');

export interface ZipOptions {
  /** 8: packed. */
  readonly method?: number;
  /** Sizes and places in the 64-bit fields. */
  readonly wide?: boolean;
}

/** A zip archive of stored records. */
export const zip = (
  records: Readonly<Record<string, Uint8Array>>,
  { method = 0, wide = false }: ZipOptions = {},
): Uint8Array => {
  const locals: Array<Uint8Array> = [];
  const entries: Array<Uint8Array> = [];
  let at = 0;
  for (const [name, data] of Object.entries(records)) {
    const bytes = text.encode(name);
    const common = joined(le(0, 2), le(method, 2), le(0, 4), le(0, 4));
    const local = joined('PK\x03\x04', le(20, 2), common, le(data.length, 4), le(data.length, 4), le(bytes.length, 2));
    locals.push(joined(local, le(0, 2), bytes, data));
    const extra = wide ? joined(le(1, 2), le(24, 2), le(data.length, 8), le(data.length, 8), le(at, 8)) : joined();
    const size = wide ? le(0xffffffff, 4) : le(data.length, 4);
    entries.push(
      joined(
        joined('PK\x01\x02', le(20, 2), le(20, 2), common, size, size, le(bytes.length, 2), le(extra.length, 2)),
        joined(le(0, 2), le(0, 2), le(0, 2), le(0, 4), wide ? le(0xffffffff, 4) : le(at, 4), bytes, extra),
      ),
    );
    at += (locals.at(-1) ?? joined()).length;
  }
  const directory = joined(...entries);
  const count = entries.length;
  const end64 = joined('PK\x06\x06', le(44, 8), le(45, 2), le(45, 2), le(0, 8), le(count, 8), le(count, 8));
  const locator = joined('PK\x06\x07', le(0, 4), le(at + directory.length, 8), le(1, 4));
  const short = wide ? [0xffff, 0xffffffff, 0xffffffff] : [count, directory.length, at];
  const [files = 0, length = 0, start = 0] = short;
  return joined(
    ...locals,
    directory,
    ...(wide ? [end64, le(directory.length, 8), le(at, 8), locator] : []),
    joined('PK\x05\x06', le(0, 4), le(files, 2), le(files, 2), le(length, 4), le(start, 4), le(0, 2)),
  );
};
