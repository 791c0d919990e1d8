/** The tfjs backend `native`: tensors live in the engine's memory; JavaScript holds numbers. */
import type { BackendValues, DataType, TensorInfo } from '@tensorflow/tfjs-core';
import { tfjs } from '../tfjs.js';
import type { Addon } from './addon.js';
import { makeCall } from './call.js';
import type { Call } from './call.js';
import { makeKeeping } from './keeping.js';
import type { Keeping } from './keeping.js';
import { makeMemory } from './memory.js';
import type { Memory } from './memory.js';
import { kinds } from './nativeData.js';
import type { NativeData, NativeInfo } from './nativeData.js';
import { operationNames } from './operations.js';
import type { Operations } from './operations.js';
import { makePassingCopies } from './passingCopies.js';
import type { PassingCopies } from './passingCopies.js';
import { makeReadBack } from './readBack.js';
import type { ReadBack } from './readBack.js';
import { makeStorage } from './storage.js';
import type { Storage } from './storage.js';
import { makeWaitingSum } from './waitingSum.js';
import type { Sum, WaitingSum } from './waitingSum.js';
import { makeWeightCopies } from './weightCopies.js';
import type { WeightCopies } from './weightCopies.js';

const { KernelBackend, util } = tfjs();

export type Precision = 'float32' | 'bfloat16';

/** What a norm reads. */
interface NormInput {
  readonly x: TensorInfo;
  /** Present: x is this sum. */
  readonly sum: Sum | undefined;
  /** x for the way back, if it was asked for. */
  readonly kept: ReadonlyArray<TensorInfo>;
  /** Number of the tensor of it that the norm writes; 0: none. */
  readonly copy: number;
}

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
  readonly storage: Storage;
  readonly keeping: Keeping;
  private readonly calls: Call;
  private readonly sum: WaitingSum;
  private readonly copies: WeightCopies;
  private readonly tensors: Memory;
  private readonly passing: PassingCopies;
  private readonly reading: ReadBack;

  constructor(readonly addon: Addon) {
    super();
    const op = Object.fromEntries(operationNames.map((name) => [name, addon.code(name)])) as Operations;
    const call = makeCall(addon);
    const { narrow } = op;
    const sum = makeWaitingSum(addon, call, op.add);
    const copies = makeWeightCopies(addon, call, op.narrowCopy);
    const passing = makePassingCopies(addon, call, op);
    const memory = makeMemory({ addon, sum, copies, backend: this });
    this.op = op;
    this.calls = call;
    this.sum = sum;
    this.copies = copies;
    this.passing = passing;
    this.tensors = memory;
    this.storage = makeStorage({ addon, call, narrow, memory, copies, passing });
    const rounds = (): boolean => this.precision === 'bfloat16';
    this.keeping = makeKeeping({ addon, call, narrow, memory, passing, rounds });
    this.reading = makeReadBack(addon, passing);
  }

  /** Tensors lie on a CUDA card. */
  get onCard(): boolean {
    return this.card !== undefined;
  }

  /** Whether activations travel from kernel to kernel as bfloat16. */
  get halves(): boolean {
    return this.takesHalves && this.precision === 'bfloat16';
  }

  /** Whether the values lie as bfloat16 and kernels read them so: at float32 they are given a copy, and nothing is rounded. */
  liesHalved(info: TensorInfo): boolean {
    return this.halves && this.tensors.float(info).held?.storage === 'bfloat16';
  }

  // ---- a kernel: it begins, takes its outputs, puts its arguments one after the other, and runs ----

  /** A kernel starts. */
  begin(): void {
    this.calls.clear();
    this.tensors.begin();
    this.passing.forget();
  }

  /** The kernel threw: its outputs are nobody's, and what was copied for it nobody reads. */
  abandon(): void {
    this.tensors.abandon();
    this.passing.forget();
  }

  /** A new tensor whose values are whatever the memory held. */
  output(shape: ReadonlyArray<number>, dtype: DataType = 'float32'): NativeInfo {
    return this.tensors.output(shape, dtype);
  }

  /** An output that lies as bfloat16 where that is asked for. */
  outputAs(half: boolean, shape: ReadonlyArray<number>): NativeInfo {
    return half ? this.tensors.halfOutput(shape) : this.tensors.output(shape, 'float32');
  }

  /** The same data under another shape. */
  alias(info: TensorInfo, shape: ReadonlyArray<number>): TensorInfo {
    return this.tensors.alias(info, shape);
  }

  /** The next argument is a number. */
  put(value: number): this {
    this.calls.put(value);
    return this;
  }

  /** The next argument is a float32 tensor that is read. */
  tensor(info: TensorInfo): this {
    return this.put(this.passing.wide(this.tensors.float(info)));
  }

  /** The next argument is a float32 tensor, or none. */
  optional(info: TensorInfo | undefined): this {
    return info === undefined ? this.put(0) : this.tensor(info);
  }

  /** The next two arguments are a float32 tensor that is read, as it lies: whether as bfloat16, and its number. */
  value(info: TensorInfo): this {
    return this.liesHalved(info)
      ? this.put(1).put(this.passing.lying(this.tensors.float(info)))
      : this.put(0).tensor(info);
  }

  /** The same, or none. */
  optionalValue(info: TensorInfo | undefined): this {
    return info === undefined ? this.put(0).put(0) : this.value(info);
  }

  /** The next argument is a float32 tensor that is read as bfloat16, rounded first where it does not lie so. */
  halved(info: TensorInfo): this {
    return this.put(this.passing.half(this.tensors.float(info)));
  }

  /** The next argument is an int32 tensor that is read or written to. */
  integers({ dataId }: TensorInfo): this {
    return this.put(this.tensors.integers(dataId).id);
  }

  /** The next argument is a stored matrix, read as it is stored: kind, data, scale, code, block. */
  matrix(info: TensorInfo): this {
    const data = this.tensors.float(info);
    const { held } = data;
    // Scales of rows fit no other rows.
    if (held?.storage === 'int8' && held.columns !== info.shape[info.shape.length - 1])
      return this.put(kinds.float32).tensor(info).put(0).put(0).put(0);
    const { storage, scale, code, block } = held ?? { storage: 'float32', scale: 0, code: 0, block: 0 };
    return this.put(kinds[storage]).put(this.passing.lying(data)).put(scale).put(code).put(block);
  }

  /** The next argument is a float32 tensor that is written to. */
  written(info: TensorInfo): this {
    const data = this.tensors.float(info);
    if (data.held !== undefined)
      throw new Error(`a tensor held as ${data.held.storage} cannot be updated in place: release it first`);
    data.divides = undefined;
    if (data.copy !== undefined) data.copy.current = false;
    return this.put(data.id);
  }

  /** Enqueues an operation on the arguments put since the last. */
  run(code: number, first?: Int32Array | Float32Array, second?: Int32Array | Float32Array): void {
    this.calls.run(code, first, second);
    this.passing.forget();
  }

  /** Whether no sum of a value and the offset is 0, or so near that bfloat16 has no multiples of it. Waits for the values, once. */
  divides(info: TensorInfo, offset: number): boolean {
    return this.reading.divides(this.tensors.float(info), offset);
  }

  // ---- weights that products round, and their copies ----

  /**
   * Before products that round these weights: on a card their copies are made, or made again where something has written to the weights
   * since. Those of weights given together lie one after the other. Nothing else may have been put.
   */
  round(...weights: ReadonlyArray<TensorInfo>): void {
    if (!this.onCard || this.precision !== 'bfloat16') return;
    const all = weights.map((info) => this.tensors.float(info));
    const whole = weights.every(({ shape }) => (shape[shape.length - 1] ?? 0) % 8 === 0);
    if (!whole || new Set(all).size !== all.length || all.some(({ held }) => held !== undefined)) return;
    this.copies.round(all);
  }

  /** The next arguments are weights that are read, and their copy, if it is what they are. */
  weights(info: TensorInfo): this {
    this.tensor(info);
    return this.precision === 'bfloat16' ? this.keptCopy(info) : this.put(0).put(0);
  }

  /** The next argument are weights that are written to by an operation which is given their copy, by `keptCopy`, and writes to it too. */
  updated(info: TensorInfo): this {
    const { copy } = this.tensors.float(info);
    const current = copy?.current === true;
    this.written(info);
    if (copy !== undefined) copy.current = current;
    return this;
  }

  /** The next arguments are where the copy of weights lies that is kept up. */
  keptCopy(info: TensorInfo): this {
    const { copy } = this.tensors.float(info);
    return copy?.current === true ? this.put(copy.of.id).put(copy.first) : this.put(0).put(0);
  }

  // ---- the sum that waits ----

  /** a + b of one shape, computed by the kernel that comes next: see waitingSum.ts. */
  sumLater(a: TensorInfo, b: TensorInfo): NativeInfo {
    const both = [a, b].map((info) => ({ data: this.tensors.float(info), half: this.liesHalved(info) }));
    const out = this.outputAs(
      both.every(({ half }) => half),
      a.shape,
    );
    if (both.some(({ data, half }) => data.held !== undefined && !half))
      this.put(out.dataId.size).value(a).value(b).value(out).run(this.op.add);
    else this.sum.wait({ terms: both.map(({ data: { id }, half }) => ({ id, half })), out });
    return out;
  }

  /** The sum that waits is computed. */
  settle(): void {
    this.sum.settle();
  }

  /** No sum waits any more. */
  summed(): void {
    this.sum.over();
  }

  /** What a norm of x is given, asked for when its outputs are there: `normed` puts it, and `summed` must follow when the norm has run. */
  normInput(x: TensorInfo, keeps: boolean): NormInput {
    if (this.sum.waits()?.out.dataId !== x.dataId) this.settle();
    const { kept, copy } = keeps ? this.keeping.later(x) : { kept: undefined, copy: 0 };
    return { x, sum: this.sum.waits(), kept: kept === undefined ? [] : [kept], copy };
  }

  /** The next arguments are what a norm reads. */
  normed({ x, sum, copy }: NormInput): this {
    if (sum === undefined) this.value(x).optionalValue(undefined).optionalValue(undefined);
    else this.sum.put(sum);
    return this.put(copy);
  }

  // ---- what tfjs asks of a backend ----

  override write(values: BackendValues, shape: number[], dtype: DataType): NativeData {
    return this.tensors.write(values, shape, dtype);
  }

  override move(dataId: object, values: BackendValues, shape: number[], dtype: DataType, refCount: number): void {
    const data = this.write(values, shape, dtype);
    data.references = refCount;
    this.tensors.move(dataId, data);
  }

  override readSync(dataId: object): BackendValues {
    this.settle();
    return this.reading.now(this.tensors.data(dataId));
  }

  /** The values of an int32 tensor, which are on their way from now on. */
  readSoon(dataId: object): () => Int32Array {
    this.begin();
    this.settle();
    return this.reading.soon(this.tensors.integers(dataId));
  }

  override async read(dataId: object): Promise<BackendValues> {
    this.settle();
    return this.reading.later(this.tensors.data(dataId));
  }

  override incRef(dataId: object): void {
    this.tensors.data(dataId).references++;
  }

  override refCount(dataId: object): number {
    return this.tensors.known(dataId)?.references ?? 0;
  }

  /** True when the data is gone, at once or before. */
  override disposeData(dataId: object, force = false): boolean {
    return this.tensors.dispose(dataId, force);
  }

  override numDataIds(): number {
    return this.tensors.count();
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
    const started = util.now();
    f();
    this.settle();
    this.addon.wait();
    return Promise.resolve({ kernelMs: util.now() - started });
  }

  override dispose(): void {
    this.addon.wait();
  }
}
