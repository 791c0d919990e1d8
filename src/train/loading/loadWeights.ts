/** A checkpoint's tensors → weights on the engine, quantised on the way where that is asked for or how they are stored. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import type { FatalError } from '../../errors.js';
import type { StoredTensor } from '../../formats/tensors/safetensors.js';
import { aligned } from '../../formats/tensors/tensorData.js';
import { discard, transientBytes } from '../../formats/tensors/transient.js';
import { architectureOf, matchTensors } from '../../model/architectures.js';
import type { ModelConfig } from '../../model/config.js';
import { bfloat16Tensor } from '../../model/kernels/bfloat16Tensor.js';
import { outputsFirst, placed, quantizableTensors, valuesOutputsFirst } from '../../model/quantize/base.js';
import { storedParts } from '../../model/quantize/bitsandbytes.js';
import { isGptq } from '../../model/quantize/config.js';
import type { QuantizationConfig, StoredQuantization } from '../../model/quantize/config.js';
import { storedGptq } from '../../model/quantize/gptqFiles.js';
import { dequantizeMatrix, quantizeMatrix, scalesOf } from '../../model/quantize/matrix.js';
import type { QuantizedBase, QuantizedMatrix, QuantizedScales } from '../../model/quantize/matrix.js';
import type { StoredParts, StoredQuantized } from '../../model/quantize/stored.js';
import { unpacked } from '../../model/stored/unpacked.js';
import type { TensorSpec } from '../../model/weights.js';
import { tensor } from '../../tfjs.js';
import { currentEngine } from '../engine.js';

interface Made {
  readonly tensor: Tensor;
  readonly scales?: QuantizedScales;
}

/** A weight, made when its turn comes. */
interface Making {
  readonly name: string;
  readonly make: TaskEither<FatalError, Made>;
}

/** The values of a file; matrices that it has as bfloat16 lie so in memory too, where the engine can. */
const plain = (from: StoredTensor): TaskEither<FatalError, Made> =>
  // Nothing is lost by it: the file holds no more. Weights that train are released when training begins.
  from.dtype === 'BF16' && from.shape.length >= 2
    ? pipe(
        from.readBytes(transientBytes),
        TE.map((bytes) => {
          const { buffer, byteOffset, byteLength } = aligned(bytes, 2);
          const made = bfloat16Tensor({ bits: new Uint16Array(buffer, byteOffset, byteLength / 2), shape: from.shape });
          discard(bytes);
          return { tensor: made };
        }),
      )
    : pipe(
        from.read(),
        TE.map((values) => {
          const made = tensor(values, [...from.shape], 'float32');
          // The engine has a copy; plain JavaScript would go on with these very values.
          if (currentEngine() === 'native') discard(values);
          return { tensor: made };
        }),
      );

const quantized = (matrix: QuantizedMatrix): Made => ({ tensor: placed(matrix), scales: scalesOf(matrix) });

const dequantized = (matrix: QuantizedMatrix): Made => ({
  tensor: tensor(dequantizeMatrix(matrix), [...matrix.shape], 'float32'),
});

const quantizing = (from: StoredTensor, spec: TensorSpec, config: QuantizationConfig): TaskEither<FatalError, Made> =>
  pipe(
    from.read(),
    TE.map((values) => {
      const made = quantized(quantizeMatrix(config, valuesOutputsFirst(values, spec), outputsFirst(spec)));
      discard(values);
      return made;
    }),
  );

/** One after another, so that only one is in memory twice. Made ones are freed when a later one fails. */
const inTurn =
  (makings: ReadonlyArray<Making>): TaskEither<FatalError, ReadonlyMap<string, Made>> =>
  async () => {
    const all = new Map<string, Made>();
    for (const { name, make } of makings) {
      const made = await make();
      if (E.isLeft(made)) {
        for (const { tensor: earlier } of all.values()) earlier.dispose();
        return made;
      }
      all.set(name, made.right);
    }
    return E.right(all);
  };

const tensorsOf = (all: ReadonlyMap<string, Made>): Readonly<Record<string, Tensor>> =>
  Object.fromEntries(Array.from(all, ([name, made]) => [name, made.tensor]));

/** Tensors of a file on the engine. */
export const uploaded = (
  stored: ReadonlyArray<{ readonly name: string; readonly from: StoredTensor }>,
): TaskEither<FatalError, Readonly<Record<string, Tensor>>> =>
  pipe(inTurn(stored.map(({ name, from }) => ({ name, make: plain(from) }))), TE.map(tensorsOf));

export interface LoadedWeights {
  readonly weights: Readonly<Record<string, Tensor>>;
  readonly quantized?: QuantizedBase;
}

/** A checkpoint whose names and shapes fit the model; no value has been read. */
export interface PlannedWeights {
  /** Stored tensors that the model has no use for. */
  readonly unexpected: ReadonlyArray<string>;
  /** Needs an engine. */
  readonly load: TaskEither<FatalError, LoadedWeights>;
}

export interface QuantizationAsked {
  /** How the checkpoint was quantised when it was written. */
  readonly stored?: StoredQuantization | undefined;
  /** How weights of an unquantised one are to be. */
  readonly wanted?: QuantizationConfig | undefined;
}

/** A weight of the checkpoint under its name here, with the shape that config.json asks for. */
interface Found {
  readonly name: string;
  readonly shape: ReadonlyArray<number>;
  readonly make: (spec: TensorSpec) => TaskEither<FatalError, Made>;
}

/** What a checkpoint quantised so holds, its matrices put together of their parts. */
const partsOf =
  (stored: StoredQuantization | undefined) =>
  (plain: ReadonlyMap<string, StoredTensor>): TaskEither<FatalError, StoredParts> =>
    stored === undefined
      ? TE.right({ quantized: new Map(), plain })
      : isGptq(stored)
        ? TE.fromEither(storedGptq(plain, stored))
        : storedParts(plain);

/** Each weight of a checkpoint, to be quantised on the way where it is `quantizable` and that is wanted. */
const foundIn =
  (
    specOf: (name: string) => TensorSpec | undefined,
    wanted: QuantizationConfig | undefined,
    quantizable: ReadonlySet<string>,
  ) =>
  ({ quantized: matrices, plain: tensors }: StoredParts): ReadonlyMap<string, Found> => {
    const foundMatrix = (name: string, matrix: StoredQuantized): Found => {
      const [rows, columns] = matrix.shape;
      return {
        name,
        shape: specOf(matrix.name)?.kind === 'conv1d' ? [columns, rows] : [rows, columns],
        // The head is a product of its own, which reads plain numbers.
        make: ({ head }) => pipe(matrix.read(), TE.map(head === true ? dequantized : quantized)),
      };
    };
    const foundTensor = (name: string, from: StoredTensor): Found => ({
      name,
      shape: from.shape,
      make: (spec) =>
        wanted !== undefined && quantizable.has(spec.name) ? quantizing(from, spec, wanted) : plain(from),
    });
    return new Map([
      ...Array.from(matrices, ([name, matrix]) => [name, foundMatrix(name, matrix)] as const),
      ...Array.from(tensors, ([name, from]) => [name, foundTensor(name, from)] as const),
    ]);
  };

const loadedOf = (
  made: ReadonlyMap<string, Made>,
  config: StoredQuantization | QuantizationConfig | undefined,
): LoadedWeights => {
  const scales = Object.fromEntries(
    Array.from(made).flatMap(([name, one]) => (one.scales === undefined ? [] : [[name, one.scales] as const])),
  );
  return { weights: tensorsOf(made), ...(config === undefined ? {} : { quantized: { config, scales } }) };
};

/** What a checkpoint holds for the model. `E_WEIGHTS_MISSING`, `E_WEIGHTS_SHAPE`, `E_QUANTIZATION`. */
export const planWeights = (
  config: ModelConfig,
  tensors: ReadonlyMap<string, StoredTensor>,
  { stored, wanted }: QuantizationAsked,
): TaskEither<FatalError, PlannedWeights> => {
  const architecture = architectureOf(config);
  const { tensors: specs, basePrefix, fileLayout } = architecture;
  const byName = new Map(specs.map((spec) => [spec.name, spec]));
  const specOf = (name: string): TensorSpec | undefined => byName.get(name) ?? byName.get(`${basePrefix}${name}`);
  const quantizable = new Set(wanted === undefined ? [] : quantizableTensors(specs, wanted).map(({ name }) => name));
  return pipe(
    TE.fromEither(unpacked(architecture, tensors)),
    TE.flatMapEither((all) => fileLayout?.read(all) ?? E.right(all)),
    TE.flatMap(partsOf(stored)),
    TE.map(foundIn(specOf, wanted, quantizable)),
    TE.bindTo('found'),
    TE.bind('match', ({ found }) => TE.fromEither(matchTensors(config, [...found.values()]))),
    TE.map(({ found, match }) => {
      const makings = match.tensors.flatMap(({ stored: key, name }): ReadonlyArray<Making> => {
        const entry = found.get(key);
        const spec = byName.get(name);
        return entry === undefined || spec === undefined ? [] : [{ name, make: entry.make(spec) }];
      });
      return {
        unexpected: match.unexpected,
        load: pipe(
          inTurn(makings),
          TE.map((made) => loadedOf(made, stored ?? wanted)),
        ),
      };
    }),
  );
};
