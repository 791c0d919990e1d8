/**
 * Reads Python pickles without Python: the opcodes that tensors are saved with (protocols 2 to 4), and no others
 * (https://docs.python.org/3/library/pickletools.html). Names and calls are only told to the caller, who knows a few: nothing of the
 * file is run.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { fatal, isFatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { pickleReader } from './pickleReader.js';
import type { PickleReader } from './pickleReader.js';
import { pickleStack } from './pickleStack.js';
import type { PickleStack } from './pickleStack.js';
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

/** What an opcode reads, takes from the stack and leaves there, by its byte. */
type Opcodes = Readonly<Record<string, () => void>>;

/** Numbers, texts and words. */
const plainOpcodes = (reader: PickleReader, { push }: PickleStack): Opcodes => ({
  N: () => push(null),
  '\x88': () => push(true),
  '\x89': () => push(false),
  J: () => push(reader.int32()),
  K: () => push(reader.uint8()),
  M: () => push(reader.uint16()),
  '\x8a': () => push(reader.long(reader.uint8())),
  G: () => push(reader.float64()),
  X: () => push(reader.text(reader.uint32())),
  '\x8c': () => push(reader.text(reader.uint8())),
});

/** Lists, tuples and dicts, and what is put into them. */
const containerOpcodes = (reader: PickleReader, stack: PickleStack, { file, hint }: Building): Opcodes => {
  const { popSome, popMarked } = stack;
  let containers = 0;
  const push = (value: PickledTuple | PickledList | PickledDict): void => {
    if (++containers > mostContainers) {
      throw fatal('E_PICKLE_TOO_LARGE', `${file}: its pickle makes more than ${mostContainers} lists`, { file, hint });
    }
    stack.push(value);
  };
  const pushTuple = (items: ReadonlyArray<PickleValue>): void => push({ _tag: 'tuple', items });
  const append = (items: ReadonlyArray<PickleValue>): void => {
    const list = stack.topList();
    for (const item of items) list.items.push(item);
  };
  const setItems = (items: ReadonlyArray<PickleValue>): void => {
    const { entries } = stack.topDict();
    if (items.length % 2 !== 0) throw reader.damaged('has a key without its value');
    for (let i = 0; i < items.length; i += 2) entries.set(items[i] ?? null, items[i + 1] ?? null);
  };
  return {
    '}': () => push({ _tag: 'dict', entries: new Map() }),
    ']': () => push({ _tag: 'list', items: [] }),
    ')': () => pushTuple([]),
    '(': stack.mark,
    t: () => pushTuple(popMarked()),
    '\x85': () => pushTuple(popSome(1)),
    '\x86': () => pushTuple(popSome(2)),
    '\x87': () => pushTuple(popSome(3)),
    s: () => setItems(popSome(2)),
    u: () => setItems(popMarked()),
    a: () => append(popSome(1)),
    e: () => append(popMarked()),
    // The attributes of an OrderedDict (torch keeps versions there): no tensor is among them.
    b: () => {
      stack.pop();
      stack.topDict();
    },
  };
};

/** Values that are named once and used again. */
const memoOpcodes = ({ uint8, uint32, damaged }: PickleReader, { push, top }: PickleStack): Opcodes => {
  const memo = new Map<number, PickleValue>();
  const remembered = (index: number): PickleValue => {
    const value = memo.get(index);
    if (value === undefined) throw damaged('names a value that is not there');
    return value;
  };
  return {
    q: () => memo.set(uint8(), top()),
    r: () => memo.set(uint32(), top()),
    '\x94': () => memo.set(memo.size, top()),
    h: () => push(remembered(uint8())),
    j: () => push(remembered(uint32())),
  };
};

/** Names of Python's and calls of them, which are only told. */
const callOpcodes = (reader: PickleReader, { push, pop, popString }: PickleStack, building: Building): Opcodes => ({
  c: () => {
    const module = reader.line();
    push(building.global(module, reader.line()));
  },
  '\x93': () => {
    const name = popString();
    push(building.global(popString(), name));
  },
  R: () => {
    const args = pop();
    const callable = pop();
    if (args === null || typeof args !== 'object' || args._tag !== 'tuple')
      throw reader.damaged(`wants a tuple, not ${kindOf(args)}`);
    push(building.reduce(callable, args.items));
  },
  Q: () => push(building.persistent(pop())),
});

/** What a pickle says of itself. */
const headerOpcodes = (reader: PickleReader, { file, hint }: Building): Opcodes => ({
  '\x80': () => {
    const protocol = reader.uint8();
    if (protocol < 2 || protocol > 4) {
      throw fatal('E_PICKLE_OPCODE', `${file} is a pickle of protocol ${protocol}`, {
        file,
        expected: 'protocol 2, 3 or 4',
        hint,
      });
    }
  },
  // The length of a frame says nothing that the opcodes do not.
  '\x95': () => reader.skip(8),
});

const run = (bytes: Uint8Array, start: number, building: Building): Unpickled => {
  const { file, hint } = building;
  const reader = pickleReader(file, bytes, start);
  const stack = pickleStack(reader.damaged);
  const opcodes: Opcodes = {
    ...headerOpcodes(reader, building),
    ...plainOpcodes(reader, stack),
    ...containerOpcodes(reader, stack, building),
    ...memoOpcodes(reader, stack),
    ...callOpcodes(reader, stack, building),
  };
  for (;;) {
    const from = reader.at();
    const opcode = String.fromCharCode(reader.uint8());
    if (opcode === '.') break;
    const step = opcodes[opcode];
    if (step === undefined) {
      const name = leftOut[opcode];
      if (name === undefined) throw reader.damaged('is no opcode', from);
      throw fatal('E_PICKLE_OPCODE', `${file}: its pickle makes more than tensors (${name} at byte ${from})`, {
        file,
        expected: 'a dict of tensors, as torch.save(model.state_dict(), …) leaves it',
        hint,
      });
    }
    step();
  }
  const value = stack.pop();
  if (!stack.isEmpty()) throw reader.damaged('ends it too early');
  return { value, end: reader.at() };
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
