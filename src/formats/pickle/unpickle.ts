/**
 * Reads Python pickles without Python: the opcodes that tensors are saved with (protocols 2 to 4), and no others
 * (https://docs.python.org/3/library/pickletools.html). Names and calls are only told to the caller, who knows a few: nothing of the
 * file is run.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { strictUtf8 } from '../files/utf8.js';
import { kindOf } from './values.js';
import type { PickledDict, PickledList, PickledTuple, PickleValue } from './values.js';

/** What may be built. Each is asked for the value, and may throw a `FatalError`. */
export interface Building {
  readonly file: string;
  /** The way out, for messages. */
  readonly hint: string;
  readonly global: (module: string, name: string) => PickleValue;
  readonly reduce: (callable: PickleValue, args: ReadonlyArray<PickleValue>) => PickleValue;
  readonly persistent: (id: PickleValue) => PickleValue;
}

export interface Unpickled {
  readonly value: PickleValue;
  /** Where the next one begins. */
  readonly end: number;
}

const mark = Symbol('mark');

/** Opcodes of pickle that are left out on purpose; all others are no opcodes. */
const leftOut: Readonly<Record<string, string>> = {
  i: 'INST',
  o: 'OBJ',
  P: 'PERSID',
  S: 'STRING',
  T: 'BINSTRING',
  U: 'SHORT_BINSTRING',
  V: 'UNICODE',
  I: 'INT',
  L: 'LONG',
  F: 'FLOAT',
  d: 'DICT',
  l: 'LIST',
  g: 'GET',
  p: 'PUT',
  '0': 'POP',
  '1': 'POP_MARK',
  '2': 'DUP',
  B: 'BINBYTES',
  C: 'SHORT_BINBYTES',
  '\x81': 'NEWOBJ',
  '\x82': 'EXT1',
  '\x83': 'EXT2',
  '\x84': 'EXT4',
  '\x8b': 'LONG4',
  '\x8d': 'BINUNICODE8',
  '\x8e': 'BINBYTES8',
  '\x8f': 'EMPTY_SET',
  '\x90': 'ADDITEMS',
  '\x91': 'FROZENSET',
  '\x92': 'NEWOBJ_EX',
  '\x96': 'BYTEARRAY8',
  '\x97': 'NEXT_BUFFER',
  '\x98': 'READONLY_BUFFER',
};

/** Lists, tuples and dicts: a state dict has about five a tensor. More are no weights, and would fill the memory. */
const mostContainers = 2_000_000;

const run = (bytes: Uint8Array, start: number, building: Building): Unpickled => {
  const { file, hint } = building;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const stack: Array<PickleValue | typeof mark> = [];
  const memo = new Map<number, PickleValue>();
  let at = start;
  const damaged = (what: string): FatalError =>
    fatal('E_PICKLE_DAMAGED', `${file}: byte ${at} of its pickle ${what}`, {
      file,
      hint: 'copy or download the file again: it is damaged',
    });
  /** Moves on by so many bytes, and says where they begin. */
  const take = (length: number): number => {
    const from = at;
    if (length > bytes.length - from) {
      throw fatal('E_PICKLE_TRUNCATED', `${file} ends in the middle of its pickle`, {
        file,
        hint: 'copy or download the file again: it is incomplete',
      });
    }
    at += length;
    return from;
  };
  const uint8 = (): number => view.getUint8(take(1));
  const uint32 = (): number => view.getUint32(take(4), true);
  const text = (length: number): string => {
    const from = take(length);
    const decoded = strictUtf8(bytes.subarray(from, at));
    if (decoded === undefined) throw damaged('begins no UTF-8');
    return decoded;
  };
  const line = (): string => {
    const length = bytes.subarray(at).indexOf(0x0a);
    const read = text(length === -1 ? bytes.length - at + 1 : length);
    take(1);
    return read;
  };
  const pop = (): PickleValue => {
    const top = stack.pop();
    if (top === undefined || top === mark) throw damaged('wants a value that is not there');
    return top;
  };
  const peek = (): PickleValue => {
    const top = stack.at(-1);
    if (top === undefined || top === mark) throw damaged('wants a value that is not there');
    return top;
  };
  const popMarked = (): ReadonlyArray<PickleValue> => {
    const from = stack.lastIndexOf(mark);
    if (from === -1) throw damaged('wants a mark that is not there');
    // No mark lies behind the last one.
    const items = stack.splice(from).slice(1) as Array<PickleValue>;
    return items;
  };
  const string = (): string => {
    const value = pop();
    if (typeof value !== 'string') throw damaged(`wants a string, not ${kindOf(value)}`);
    return value;
  };
  const remembered = (index: number): PickleValue => {
    const value = memo.get(index);
    if (value === undefined) throw damaged('names a value that is not there');
    return value;
  };
  const fewest = (count: number): ReadonlyArray<PickleValue> => Array.from({ length: count }, pop).reverse();
  const dictionary = (): PickledDict => {
    const value = peek();
    if (value === null || typeof value !== 'object' || value._tag !== 'dict')
      throw damaged(`wants a dict, not ${kindOf(value)}`);
    return value;
  };
  const setItems = (items: ReadonlyArray<PickleValue>): void => {
    const { entries } = dictionary();
    if (items.length % 2 !== 0) throw damaged('has a key without its value');
    for (let i = 0; i < items.length; i += 2) entries.set(items[i] ?? null, items[i + 1] ?? null);
  };
  const append = (items: ReadonlyArray<PickleValue>): void => {
    const value = peek();
    if (value === null || typeof value !== 'object' || value._tag !== 'list')
      throw damaged(`wants a list, not ${kindOf(value)}`);
    for (const item of items) value.items.push(item);
  };
  /** Little-endian two's complement; a number where it is one exactly. */
  const long = (length: number): number | bigint => {
    const from = take(length);
    let value = 0n;
    for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[from + i] ?? 0);
    const signed = length === 0 ? 0n : BigInt.asIntN(8 * length, value);
    return Number.isSafeInteger(Number(signed)) ? Number(signed) : signed;
  };
  const push = (value: PickleValue): void => {
    stack.push(value);
  };
  let containers = 0;
  const pushContainer = (value: PickledTuple | PickledList | PickledDict): void => {
    if (++containers > mostContainers) {
      throw fatal('E_PICKLE_TOO_LARGE', `${file}: its pickle makes more than ${mostContainers} lists`, { file, hint });
    }
    stack.push(value);
  };
  const pushTuple = (items: ReadonlyArray<PickleValue>): void => pushContainer({ _tag: 'tuple', items });
  const reduce = (): void => {
    const args = pop();
    const callable = pop();
    if (args === null || typeof args !== 'object' || args._tag !== 'tuple')
      throw damaged(`wants a tuple, not ${kindOf(args)}`);
    push(building.reduce(callable, args.items));
  };
  const opcodes: Readonly<Record<string, () => void>> = {
    '\x80': () => {
      const protocol = uint8();
      if (protocol < 2 || protocol > 4) {
        throw fatal('E_PICKLE_OPCODE', `${file} is a pickle of protocol ${protocol}`, {
          file,
          expected: 'protocol 2, 3 or 4',
          hint,
        });
      }
    },
    // The length of a frame says nothing that the opcodes do not.
    '\x95': () => take(8),
    N: () => push(null),
    '\x88': () => push(true),
    '\x89': () => push(false),
    J: () => push(view.getInt32(take(4), true)),
    K: () => push(uint8()),
    M: () => push(view.getUint16(take(2), true)),
    '\x8a': () => push(long(uint8())),
    G: () => push(view.getFloat64(take(8))),
    X: () => push(text(uint32())),
    '\x8c': () => push(text(uint8())),
    '}': () => pushContainer({ _tag: 'dict', entries: new Map() }),
    ']': () => pushContainer({ _tag: 'list', items: [] }),
    ')': () => pushTuple([]),
    '(': () => stack.push(mark),
    t: () => pushTuple(popMarked()),
    '\x85': () => pushTuple(fewest(1)),
    '\x86': () => pushTuple(fewest(2)),
    '\x87': () => pushTuple(fewest(3)),
    s: () => setItems(fewest(2)),
    u: () => setItems(popMarked()),
    a: () => append(fewest(1)),
    e: () => append(popMarked()),
    q: () => memo.set(uint8(), peek()),
    r: () => memo.set(uint32(), peek()),
    '\x94': () => memo.set(memo.size, peek()),
    h: () => push(remembered(uint8())),
    j: () => push(remembered(uint32())),
    c: () => {
      const module = line();
      push(building.global(module, line()));
    },
    '\x93': () => {
      const name = string();
      push(building.global(string(), name));
    },
    R: reduce,
    Q: () => push(building.persistent(pop())),
    // The attributes of an OrderedDict (torch keeps versions there): no tensor is among them.
    b: () => {
      pop();
      dictionary();
    },
  };
  for (;;) {
    const from = at;
    const opcode = String.fromCharCode(uint8());
    if (opcode === '.') break;
    const step = opcodes[opcode];
    if (step === undefined) {
      at = from;
      const name = leftOut[opcode];
      if (name === undefined) throw damaged('is no opcode');
      throw fatal('E_PICKLE_OPCODE', `${file}: its pickle makes more than tensors (${name} at byte ${from})`, {
        file,
        expected: 'a dict of tensors, as torch.save(model.state_dict(), …) leaves it',
        hint,
      });
    }
    step();
  }
  const value = pop();
  if (stack.length > 0) throw damaged('ends it too early');
  return { value, end: at };
};

/**
 * The pickle that begins at `start`. `E_PICKLE_TRUNCATED` when the bytes end in it, `E_PICKLE_DAMAGED` for what is none,
 * `E_PICKLE_OPCODE` for what tensors do not need.
 */
export const unpickle = (bytes: Uint8Array, start: number, building: Building): Either<FatalError, Unpickled> =>
  E.tryCatch(
    () => run(bytes, start, building),
    (error) =>
      isFatal(error)
        ? error
        : fatal('E_PICKLE_DAMAGED', `${building.file}: its pickle cannot be read`, {
            file: building.file,
            cause: error,
          }),
  );
