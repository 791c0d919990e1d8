/** The tfjs backend `native`: tensors live in the engine's memory; JavaScript holds numbers. */
import type { BackendValues, DataType, TensorInfo } from '@tensorflow/tfjs-core';
import type { Bfloat16Layout } from '../model/kernels/bfloat16Tensor.js';
import type { QuantizedLayout } from '../model/kernels/quantizedMatrix.js';
import { engine, tfjs } from '../tfjs.js';
import type { Addon } from './addon.js';
import { operationNames } from './operations.js';
import type { Operations } from './operations.js';

const { KernelBackend } = tfjs();

const width = (dtype: DataType): number => {
  switch (dtype) {
    case 'float32':
    case 'int32':
      return 4;
    case 'bool':
      return 1;
    default:
      throw new Error(`the native engine has no tensors of ${dtype}`);
  }
};

const sizeOf = (shape: ReadonlyArray<number>): number => {
  let size = 1;
  for (const length of shape) size *= length;
  return size;
};

const viewOf = (buffer: ArrayBuffer, dtype: DataType): Float32Array | Int32Array | Uint8Array =>
  dtype === 'float32' ? new Float32Array(buffer) : dtype === 'int32' ? new Int32Array(buffer) : new Uint8Array(buffer);

/** Numbers as the typed array of their dtype. */
const typed = (values: BackendValues, dtype: DataType): Float32Array | Int32Array | Uint8Array => {
  const numbers = values as ArrayLike<number>;
  if (dtype === 'float32') return numbers instanceof Float32Array ? numbers : Float32Array.from(numbers);
  if (dtype === 'int32') return numbers instanceof Int32Array ? numbers : Int32Array.from(numbers);
  return numbers instanceof Uint8Array ? numbers : Uint8Array.from(numbers);
};

export type Precision = 'float32' | 'bfloat16';

/** Ways in which float32 values can lie in the engine, with the numbers that kernel_table.h gives them. */
const kinds = { float32: 0, bfloat16: 1, int8: 2, fourBit: 3 } as const;

/** A way to lie that float32 values can be brought into. */
export type Storage = 'bfloat16';

/** How values lie that do not lie as float32. */
interface Held {
  readonly storage: Exclude<keyof typeof kinds, 'float32'>;
  /** Length of a row of the matrix that the values are. */
  readonly columns: number;
  /** Numbers of the tensors beside the values, 0 where the storage has none. */
  readonly scale: number;
  readonly code: number;
  /** Values that share a scale; 0 where the storage has no blocks. */
  readonly block: number;
}

/** A gated activation whose values are computed again whenever they are read. */
interface Recipe {
  readonly kind: number;
  readonly gate: NativeData;
  readonly up: NativeData;
}

/** Held without rows, scales and codes of its own. */
const bare: Held = { storage: 'bfloat16', columns: 0, scale: 0, code: 0, block: 0 };

/** A tensor of the engine with copies of weights as bfloat16, one after the other. */
interface Copies {
  readonly id: number;
  /** How many of them are in use: with none the tensor goes. */
  used: number;
}

/** The copy of some weights, which kernels that would round them read. */
interface Copy {
  readonly of: Copies;
  /** Numbers before it. */
  readonly first: number;
  /** Whether it is what the weights would be rounded to now. */
  current: boolean;
}

/** What tfjs notes of the data of tensors. */
export type Noted = NonNullable<ReturnType<ReturnType<typeof engine>['state']['tensorInfo']['get']>>;

/** What tfjs holds as a dataId. */
export class NativeData {
  /** Absent: the values lie as the dtype says. */
  held: Held | undefined;
  /** What the values, which lie as bfloat16, were made of. */
  recipe: Recipe | undefined;
  /** There are no values but what that makes, again for each kernel. */
  absent = false;
  /** Whether all values and this offset make numbers that others can be divided by, once that was asked. */
  divides: { readonly offset: number; readonly safely: boolean } | undefined;
  /** What was made to keep these values for later, in a smaller storage. */
  kept: NativeData | undefined;
  /** On a card, where these are weights that products round. */
  copy: Copy | undefined;
  /** What tfjs notes of it, where tensors have it. */
  noted: Noted | undefined;

  constructor(
    /** Number of the tensor in the engine; 0 once freed. */
    public id: number,
    public readonly size: number,
    public readonly dtype: DataType,
    public references: number,
    /** Strings stay in JavaScript. */
    public readonly strings?: BackendValues,
  ) {}
}

/** A sum that is not computed yet. */
interface WaitingSum {
  /** Numbers of its two terms in the engine, and whether they lie as bfloat16. */
  readonly terms: ReadonlyArray<{ readonly id: number; readonly half: boolean }>;
  readonly out: NativeInfo;
  /** Terms that nobody else needs any more: they live until the sum is computed. */
  readonly freed: number[];
}

/** What a norm reads. */
interface NormInput {
  readonly x: TensorInfo;
  /** Present: x is this sum. */
  readonly sum: WaitingSum | undefined;
  /** x for the way back, if it was asked for. */
  readonly kept: ReadonlyArray<TensorInfo>;
  /** Number of the tensor of it that the norm writes; 0: none. */
  readonly copy: number;
}

/** What kernels are given as output: a tensor that is not tracked yet. */
export interface NativeInfo extends TensorInfo {
  readonly dataId: NativeData;
}

/** Far above what is lost when it is multiplied with a normed number and rounded to bfloat16. */
const leastDivisor = 1e-20;

/** More numbers than an update of a few thousand tensors passes. */
const longestCall = 1 << 17;

/** Whether the copies of all these weights lie in one tensor, one after the other. */
const lieInOrder = ([one, ...others]: ReadonlyArray<NativeData>): boolean => {
  if (one?.copy === undefined) return one === undefined;
  const { of, first } = one.copy;
  let next = first + one.size;
  for (const { copy, size } of others) {
    if (copy?.of !== of || copy.first !== next) return false;
    next += size;
  }
  return true;
};

export class NativeBackend extends KernelBackend {
  readonly op: Operations;
  /** What products of the named ops are computed in. */
  precision: Precision = 'float32';
  /** A line on the CUDA card on which everything lies and runs; absent: the processor. */
  card: string | undefined;
  /** Kernels read and write activations that lie as bfloat16: on a card, and where the processor multiplies them. */
  takesHalves = false;
  /** How often operations without a kernel here were handed to the processor's reference, by name: copies both ways. */
  readonly handedOn = new Map<string, number>();
  /** Tensors that were born on another backend keep their dataId. */
  private readonly moved = new WeakMap<object, NativeData>();
  private readonly args = new Float64Array(longestCall);
  private at = 0;
  private count = 0;
  /** Outputs of the kernel that runs: what a kernel that throws leaves behind. */
  private fresh: NativeData[] = [];
  /** What `add` was asked for, until the next kernel comes. */
  private waiting: WaitingSum | undefined;
  /** Copies that lie otherwise than the values, alive until the operation that reads them is enqueued. */
  private widened: number[] = [];

  constructor(readonly addon: Addon) {
    super();
    addon.attach(this.args);
    this.op = Object.fromEntries(operationNames.map((name) => [name, addon.code(name)])) as Operations;
  }

  // ---- calling the engine: arguments are put one after the other, then run ----

  /** A kernel starts. */
  begin(): void {
    this.at = 0;
    this.fresh.length = 0;
    this.forgetWidened();
  }

  /**
   * a + b of one shape, computed by the kernel that comes next: a norm that reads it does so in its own pass over the terms, before all
   * others it is computed by itself.
   */
  sumLater(a: TensorInfo, b: TensorInfo): NativeInfo {
    const both = [a, b].map((info) => ({ data: this.float(info), half: this.liesHalved(info) }));
    const out = this.outputAs(
      both.every(({ half }) => half),
      a.shape,
    );
    if (both.some(({ data, half }) => data.held !== undefined && !half))
      this.put(out.dataId.size).value(a).value(b).value(out).run(this.op.add);
    else this.waiting = { terms: both.map(({ data: { id }, half }) => ({ id, half })), out, freed: [] };
    return out;
  }

  private terms({ terms, out }: WaitingSum): this {
    for (const { id, half } of terms) this.put(Number(half)).put(id);
    return this.value(out);
  }

  /** The sum that waits is computed. */
  settle(): void {
    if (this.waiting === undefined) return;
    try {
      this.put(this.waiting.out.dataId.size).terms(this.waiting).run(this.op.add);
    } finally {
      this.summed();
    }
  }

  /** No sum waits any more. */
  summed(): void {
    const freed = this.waiting?.freed ?? [];
    this.waiting = undefined;
    for (const id of freed) this.addon.give(id);
  }

  /** What a norm of x is given, asked for when its outputs are there: `normed` puts it, and `summed` must follow when the norm has run. */
  normInput(x: TensorInfo, keeps: boolean): NormInput {
    if (this.waiting?.out.dataId !== x.dataId) this.settle();
    const { kept, copy } = keeps ? this.later(x) : { kept: undefined, copy: 0 };
    return { x, sum: this.waiting, kept: kept === undefined ? [] : [kept], copy };
  }

  /** The next arguments are what a norm reads. */
  normed({ x, sum, copy }: NormInput): this {
    if (sum === undefined) this.value(x).optionalValue(undefined).optionalValue(undefined);
    else this.terms(sum);
    return this.put(copy);
  }

  /** The kernel threw: its outputs are nobody's, and what was widened for it nobody reads. */
  abandon(): void {
    for (const data of this.fresh) this.disposeData(data, true);
    this.fresh.length = 0;
    this.forgetWidened();
  }

  /** The next argument is a number. */
  put(value: number): this {
    if (this.at === longestCall) throw new Error('too many arguments');
    this.args[this.at++] = value;
    return this;
  }

  /** Number of the values that lie as bfloat16: the data's own, or of those that are made again for the kernel that runs. */
  private halfOf(data: NativeData): number {
    const { recipe } = data;
    if (!data.absent || recipe === undefined) return data.id;
    // Arguments of the operation that asks are being put: they wait aside.
    const waiting = this.args.slice(0, this.at);
    const made = this.addon.take(data.size * 2);
    this.widened.push(made);
    this.args.set([data.size, recipe.kind, 1, recipe.gate.id, 1, recipe.up.id, 1, made]);
    this.addon.op(this.op.gatedActivation);
    this.args.set(waiting);
    return made;
  }

  private float(info: TensorInfo): NativeData {
    const data = this.data(info.dataId);
    if (data.dtype !== 'float32') throw new Error(`a tensor of ${data.dtype}, expected float32`);
    return data;
  }

  /** The next argument is a float32 tensor that is read. */
  tensor(info: TensorInfo): this {
    const data = this.float(info);
    if (data.held === undefined) return this.put(data.id);
    const copy = this.widen(data);
    this.widened.push(copy);
    return this.put(copy);
  }

  /** The next two arguments are a float32 tensor that is read, as it lies: whether as bfloat16, and its number. */
  value(info: TensorInfo): this {
    return this.liesHalved(info) ? this.put(1).put(this.halfOf(this.float(info))) : this.put(0).tensor(info);
  }

  /** The same, or none. */
  optionalValue(info: TensorInfo | undefined): this {
    return info === undefined ? this.put(0).put(0) : this.value(info);
  }

  /** Whether the values lie as bfloat16 and kernels read them so: at float32 they are given a copy, and nothing is rounded. */
  liesHalved(info: TensorInfo): boolean {
    return this.halves && this.float(info).held?.storage === 'bfloat16';
  }

  /** Tensors lie on a CUDA card. */
  get onCard(): boolean {
    return this.card !== undefined;
  }

  /** Whether activations travel from kernel to kernel as bfloat16. */
  get halves(): boolean {
    return this.takesHalves && this.precision === 'bfloat16';
  }

  /** The next argument is a float32 tensor that is read as bfloat16, rounded first where it does not lie so. */
  halved(info: TensorInfo): this {
    const data = this.float(info);
    if (data.held?.storage === 'bfloat16') return this.put(this.halfOf(data));
    const waiting = this.args.slice(0, this.at);
    const wide = data.held === undefined ? data.id : this.widen(data);
    if (wide !== data.id) this.widened.push(wide);
    const copy = this.addon.take(data.size * 2);
    this.widened.push(copy);
    this.args.set([data.size, wide, copy]);
    this.addon.op(this.op.narrow);
    this.args.set(waiting);
    return this.put(copy);
  }

  /** The next argument is a float32 tensor that is written to. */
  written(info: TensorInfo): this {
    const data = this.float(info);
    if (data.held !== undefined)
      throw new Error(`a tensor held as ${data.held.storage} cannot be updated in place: release it first`);
    data.divides = undefined;
    if (data.copy !== undefined) data.copy.current = false;
    return this.put(data.id);
  }

  /**
   * Before products that round these weights: on a card their copies are made, or made again where something has written to the weights
   * since. Those of weights given together lie one after the other. Nothing else may have been put.
   */
  round(...weights: ReadonlyArray<TensorInfo>): void {
    if (!this.onCard || this.precision !== 'bfloat16') return;
    const all = weights.map((info) => this.float(info));
    const whole = weights.every(({ shape }) => (shape[shape.length - 1] ?? 0) % 8 === 0);
    if (!whole || new Set(all).size !== all.length || all.some(({ held }) => held !== undefined)) return;
    if (!lieInOrder(all)) this.layOut(all);
    for (const { size, id, copy } of all) {
      if (copy === undefined || copy.current) continue;
      this.put(size).put(id).put(copy.of.id).put(copy.first).run(this.op.narrowCopy);
      copy.current = true;
    }
  }

  private layOut(all: ReadonlyArray<NativeData>): void {
    for (const data of all) this.forgetCopy(data);
    const of = { id: this.addon.take(2 * all.reduce((sum, { size }) => sum + size, 0)), used: all.length };
    let first = 0;
    for (const data of all) {
      data.copy = { of, first, current: false };
      first += data.size;
    }
  }

  private forgetCopy(data: NativeData): void {
    if (data.copy === undefined) return;
    const { of } = data.copy;
    of.used--;
    if (of.used === 0) this.addon.give(of.id);
    data.copy = undefined;
  }

  /** The next arguments are where the copy of weights lies, if it is what they are. */
  copyOf(info: TensorInfo): this {
    const { copy } = this.float(info);
    return copy?.current === true && this.precision === 'bfloat16'
      ? this.put(copy.of.id).put(copy.first)
      : this.put(0).put(0);
  }

  /** The next arguments are weights that are read, and their copy. */
  weights(info: TensorInfo): this {
    return this.tensor(info).copyOf(info);
  }

  /** The next argument are weights that are written to by an operation which is given their copy, by `keptCopy`, and writes to it too. */
  updated(info: TensorInfo): this {
    const { copy } = this.float(info);
    const current = copy?.current === true;
    this.written(info);
    if (copy !== undefined) copy.current = current;
    return this;
  }

  /** The next arguments are where the copy of weights lies that is kept up. */
  keptCopy(info: TensorInfo): this {
    const { copy } = this.float(info);
    return copy?.current === true ? this.put(copy.of.id).put(copy.first) : this.put(0).put(0);
  }

  /** The next argument is an int32 tensor that is read or written to. */
  integers(info: TensorInfo): this {
    const data = this.data(info.dataId);
    if (data.dtype !== 'int32') throw new Error(`a tensor of ${data.dtype}, expected int32`);
    return this.put(data.id);
  }

  /** The next argument is a float32 tensor, or none. */
  optional(info: TensorInfo | undefined): this {
    return info === undefined ? this.put(0) : this.tensor(info);
  }

  /** The next argument is a stored matrix, read as it is stored: kind, data, scale, code, block. */
  matrix(info: TensorInfo): this {
    const data = this.float(info);
    const { held } = data;
    // Scales of rows fit no other rows.
    if (held?.storage === 'int8' && held.columns !== info.shape[info.shape.length - 1])
      return this.put(kinds.float32).tensor(info).put(0).put(0).put(0);
    const { storage, scale, code, block } = held ?? { storage: 'float32', scale: 0, code: 0, block: 0 };
    return this.put(kinds[storage]).put(this.halfOf(data)).put(scale).put(code).put(block);
  }

  /** Enqueues an operation on the arguments put since the last. */
  run(code: number, first?: Int32Array | Float32Array, second?: Int32Array | Float32Array): void {
    this.at = 0;
    if (first === undefined) this.addon.op(code);
    else if (second === undefined) this.addon.op(code, first);
    else this.addon.op(code, first, second);
    if (this.widened.length > 0) this.forgetWidened();
  }

  /** Number of a new tensor with the float32 values of a held one. */
  private widen(data: NativeData): number {
    // Arguments of the operation that asks are being put: they wait aside.
    const waiting = this.args.slice(0, this.at);
    const copy = this.addon.take(data.size * 4);
    const { storage, columns, scale, code, block } = data.held ?? bare;
    try {
      if (storage === 'bfloat16') {
        this.args.set([data.size, this.halfOf(data), copy]);
        this.addon.op(this.op.widen);
      } else {
        const rows = columns === 0 ? 0 : data.size / columns;
        this.args.set([rows, columns, kinds[storage], data.id, scale, code, block, copy]);
        this.addon.op(this.op.dequantize);
      }
    } catch (error) {
      this.addon.give(copy);
      throw error;
    }
    this.args.set(waiting);
    return copy;
  }

  private forgetWidened(): void {
    for (const id of this.widened) this.addon.give(id);
    this.widened.length = 0;
  }

  /**
   * From here on the values lie as `storage` has them (bfloat16: rounded to nearest even, in half of the memory), for whoever
   * shares the data. Products and lookups read them as they lie; other kernels get a float32 copy for as long as they run;
   * updates in place are refused. Data that is held already stays as it is.
   */
  hold(info: TensorInfo, storage: Storage): void {
    const data = this.float(info);
    if (data.held !== undefined) return;
    this.forgetCopy(data);
    const id = this.addon.take(data.size * 2);
    this.put(data.size).put(data.id).put(id).run(this.op.narrow);
    this.addon.give(data.id);
    data.id = id;
    data.held = { ...bare, storage };
  }

  /** A new tensor that lies as bfloat16, as `hold` has them. Updates in place are refused. */
  bfloat16({ bits, shape }: Bfloat16Layout): NativeInfo {
    const dataId = new NativeData(this.addon.take(bits.byteLength), bits.length, 'float32', 1);
    this.addon.write(dataId.id, bits);
    dataId.held = bare;
    this.count++;
    this.fresh.push(dataId);
    return { dataId, shape: shape as number[], dtype: 'float32' };
  }

  /** A new matrix that lies as given. Updates in place are refused. */
  quantized({ shape: [rows, columns], codes, scale, map, blockSize }: QuantizedLayout): NativeInfo {
    const lying = (values: Int8Array | Uint8Array | Float32Array): number => {
      const id = this.addon.take(values.byteLength);
      this.addon.write(id, values);
      return id;
    };
    const data = new NativeData(lying(codes), rows * columns, 'float32', 1);
    data.held = {
      storage: map === undefined ? 'int8' : 'fourBit',
      columns,
      scale: lying(scale),
      code: map === undefined ? 0 : lying(map),
      block: blockSize,
    };
    this.count++;
    this.fresh.push(data);
    return { dataId: data, shape: [rows, columns], dtype: 'float32' };
  }

  /** From here on the values lie as float32 again: those that reading gave before. */
  release(info: TensorInfo): void {
    const data = this.float(info);
    if (data.held === undefined) return;
    const id = this.widen(data);
    this.giveUp(data);
    this.forgetRecipe(data);
    data.id = id;
    data.absent = false;
    data.held = undefined;
  }

  /** The values for later. At bfloat16 that is a tensor which lies so, one for all who keep the same data. */
  keep(info: TensorInfo): TensorInfo {
    const { kept, copy } = this.later(info);
    if (copy !== 0) this.put(sizeOf(info.shape)).tensor(info).put(copy).run(this.op.narrow);
    return kept;
  }

  /** The same, but that a gated activation is not kept: it is made again of what it was made of, which is kept in any case. */
  keepWhatMakes(info: TensorInfo): TensorInfo {
    const { recipe, size, dtype } = this.float(info);
    if (recipe === undefined || recipe.gate.references === 0 || recipe.up.references === 0) return this.keep(info);
    const data = new NativeData(this.addon.take(1), size, dtype, 1);
    data.held = bare;
    data.recipe = recipe;
    data.absent = true;
    recipe.gate.references++;
    recipe.up.references++;
    this.count++;
    this.fresh.push(data);
    return { dataId: data, shape: info.shape, dtype };
  }

  /** Says what the gated activation was made of. */
  madeOf(made: NativeInfo, kind: number, gate: TensorInfo, up: TensorInfo): void {
    made.dataId.recipe = { kind, gate: this.float(gate), up: this.float(up) };
  }

  /** Whether no sum of a value and the offset is 0, or so near that bfloat16 has no multiples of it. Waits for the values, once. */
  divides(info: TensorInfo, offset: number): boolean {
    const data = this.float(info);
    if (data.held !== undefined) return false;
    if (data.divides?.offset !== offset) {
      const values = new Float32Array(this.addon.readSync(data.id, data.size * 4));
      const safely = values.every((value) => Math.abs(value + offset) > leastDivisor);
      data.divides = { offset, safely };
    }
    return data.divides.safely;
  }

  /** The same, of which `copy` is to be written, unless it is 0. */
  private later(info: TensorInfo): { readonly kept: TensorInfo; readonly copy: number } {
    const data = this.float(info);
    if (this.precision !== 'bfloat16' || data.held !== undefined)
      return { kept: this.alias(info, info.shape), copy: 0 };
    const { shape, dtype } = info;
    if (data.kept !== undefined && data.kept.references > 0) {
      data.kept.references++;
      return { kept: { dataId: data.kept, shape, dtype }, copy: 0 };
    }
    const dataId = new NativeData(this.addon.take(data.size * 2), data.size, dtype, 1);
    dataId.held = bare;
    this.count++;
    this.fresh.push(dataId);
    data.kept = dataId;
    return { kept: { dataId, shape, dtype }, copy: dataId.id };
  }

  /** The memory of the values and of what lies beside them. */
  private giveUp({ id, held }: NativeData): void {
    const { waiting } = this;
    if (waiting?.terms.some((term) => term.id === id) === true) waiting.freed.push(id);
    else if (id !== 0) this.addon.give(id);
    for (const part of [held?.scale ?? 0, held?.code ?? 0]) if (part !== 0) this.addon.give(part);
  }

  /** What absent values are made of is needed once less. */
  private forgetRecipe({ recipe, absent }: NativeData): void {
    if (!absent || recipe === undefined) return;
    for (const part of [recipe.gate, recipe.up]) if (this.disposeData(part)) engine().removeDataId(part, this);
  }

  /** A new tensor whose values are whatever the memory held. */
  output(shape: ReadonlyArray<number>, dtype: DataType = 'float32'): NativeInfo {
    const dataId = this.allocate(sizeOf(shape), dtype);
    this.fresh.push(dataId);
    return { dataId, shape: shape as number[], dtype };
  }

  /** An output that lies as bfloat16 where that is asked for. */
  outputAs(half: boolean, shape: ReadonlyArray<number>): NativeInfo {
    if (!half) return this.output(shape);
    const size = sizeOf(shape);
    const dataId = new NativeData(this.addon.take(size * 2), size, 'float32', 1);
    dataId.held = bare;
    this.count++;
    this.fresh.push(dataId);
    return { dataId, shape: shape as number[], dtype: 'float32' };
  }

  /** The same data under another shape. */
  alias(info: TensorInfo, shape: ReadonlyArray<number>): TensorInfo {
    this.incRef(info.dataId);
    return { dataId: info.dataId, shape: shape as number[], dtype: info.dtype };
  }

  private allocate(size: number, dtype: DataType): NativeData {
    const data = new NativeData(this.addon.take(size * width(dtype)), size, dtype, 1);
    this.count++;
    return data;
  }

  private data(dataId: object): NativeData {
    if (dataId instanceof NativeData && dataId.id !== 0) return dataId;
    const known = this.moved.get(dataId);
    if (known !== undefined && known.id !== 0) return known;
    if (dataId instanceof NativeData && dataId.strings !== undefined) return dataId;
    engine().moveData(this, dataId);
    const moved = this.moved.get(dataId);
    if (moved === undefined) throw new Error('a tensor that was disposed of');
    return moved;
  }

  private known(dataId: object): NativeData | undefined {
    const moved = this.moved.get(dataId);
    if (moved !== undefined) return moved;
    return dataId instanceof NativeData && dataId.references > 0 ? dataId : undefined;
  }

  // ---- what tfjs asks of a backend ----

  override write(values: BackendValues, shape: number[], dtype: DataType): NativeData {
    if (dtype === 'string') {
      this.count++;
      return new NativeData(0, sizeOf(shape), dtype, 1, values);
    }
    const data = this.allocate(sizeOf(shape), dtype);
    this.addon.write(data.id, typed(values, dtype));
    return data;
  }

  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    const data = this.write(values, shape, dtype);
    data.references = refCount;
    this.moved.set(dataId, data);
  }

  override readSync(dataId: object): BackendValues {
    this.settle();
    const data = this.data(dataId);
    if (data.strings !== undefined) return data.strings;
    if (data.held === undefined) return viewOf(this.addon.readSync(data.id, data.size * width(data.dtype)), data.dtype);
    const copy = this.widen(data);
    try {
      return viewOf(this.addon.readSync(copy, data.size * 4), data.dtype);
    } finally {
      this.addon.give(copy);
    }
  }

  /** The values of an int32 tensor, which are on their way from now on. */
  readSoon(dataId: object): () => Int32Array {
    this.begin();
    this.settle();
    const { id, size, dtype } = this.data(dataId);
    if (dtype !== 'int32') throw new Error(`a tensor of ${dtype}, expected int32`);
    const asked = this.addon.readSoon(id, 4 * size);
    return () => new Int32Array(this.addon.arrived(asked));
  }

  override async read(dataId: object): Promise<BackendValues> {
    this.settle();
    const data = this.data(dataId);
    if (data.strings !== undefined) return data.strings;
    const copy = data.held === undefined ? 0 : this.widen(data);
    const reading = this.addon.read(copy === 0 ? data.id : copy, data.size * width(data.dtype));
    if (copy !== 0) this.addon.give(copy);
    return viewOf(await reading, data.dtype);
  }

  override incRef(dataId: object): void {
    this.data(dataId).references++;
  }

  override refCount(dataId: object): number {
    return this.known(dataId)?.references ?? 0;
  }

  /** True when the data is gone, at once or before. */
  override disposeData(dataId: object, force = false): boolean {
    const data = this.known(dataId);
    if (data === undefined) return true;
    data.references--;
    if (data.references > 0 && !force) return false;
    data.references = 0;
    if (this.waiting?.out.dataId === data) this.summed();
    this.count--;
    this.forgetCopy(data);
    this.giveUp(data);
    this.forgetRecipe(data);
    data.id = 0;
    data.held = undefined;
    data.kept = undefined;
    data.recipe = undefined;
    this.moved.delete(dataId);
    return true;
  }

  override numDataIds(): number {
    return this.count;
  }

  /** Counts bytes in the engine, which tfjs adds its own counts to. */
  override memory(): {
    unreliable: boolean;
    nativeBytes: number;
    nativePeakBytes: number;
    nativeReservedBytes: number;
  } {
    this.settle();
    const { bytes, peakBytes, reservedBytes, scratchBytes } = this.addon.statistics();
    return {
      unreliable: false,
      nativeBytes: bytes,
      nativePeakBytes: peakBytes,
      nativeReservedBytes: reservedBytes + scratchBytes,
    };
  }

  override floatPrecision(): 16 | 32 {
    return 32;
  }

  override epsilon(): number {
    return 1e-7;
  }

  override timerAvailable(): boolean {
    return true;
  }

  override time(f: () => void): Promise<{ kernelMs: number }> {
    this.settle();
    this.addon.wait();
    const started = performance.now();
    f();
    this.settle();
    this.addon.wait();
    return Promise.resolve({ kernelMs: performance.now() - started });
  }

  override dispose(): void {
    this.addon.wait();
  }
}
