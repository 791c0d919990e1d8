/**
 * How files hold the experts of gpt-oss, Llama 4 and Qwen3-VL: those of a layer in one tensor, inputs first, each expert's gates and ups
 * by turns (gpt-oss) or all gates before all ups; or, in MXFP4, the same outputs first, as the checkpoints of OpenAI do.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { madeTensor } from '../../formats/tensors/madeTensor.js';
import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import { bytesOfDtype } from '../../formats/tensors/safetensorsHeader.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';
import type { FileLayout } from '../architecture.js';
import { floatsOf } from '../stored/floatsOf.js';
import { decodeMxfp4, mxfp4Block } from '../stored/mxfp4.js';

export interface JoinedExperts {
  /** Paths of the modules that hold the experts of a layer. */
  readonly modules: ReadonlyArray<string>;
  /** Gates and ups share the outputs of an expert by turns. Otherwise all gates come first. */
  readonly byTurns: boolean;
  /** A tensor whose shape says so has outputs first, as transformers 5 writes Qwen3-VL's. Default: none has. */
  readonly eitherWay?: boolean;
  readonly hiddenSize: number;
  readonly numExperts: number;
  readonly expertSize: number;
}

/** A map of all experts of a layer as files hold it: `names` of its parts share the outputs of an expert. */
interface Joined extends Pick<JoinedExperts, 'byTurns' | 'eitherWay'> {
  readonly name: string;
  readonly outputs: number;
  readonly inputs: number;
  readonly names: ReadonlyArray<string>;
}

/** One of the maps within its layer, and where its outputs are in the joined tensor: `first`, and every `step`-th from there. */
interface Place {
  readonly module: string;
  readonly expert: number;
  readonly first: number;
  readonly step: number;
  readonly outputs: number;
}

const joinedOf = (
  { hiddenSize, expertSize, byTurns, eitherWay = false }: JoinedExperts,
  module: string,
): ReadonlyArray<Joined> => {
  const form = { byTurns, eitherWay };
  const names = ['gate_proj', 'up_proj'];
  return [
    { name: `${module}.gate_up_proj`, outputs: 2 * expertSize, inputs: hiddenSize, names, ...form },
    { name: `${module}.down_proj`, outputs: hiddenSize, inputs: expertSize, names: ['down_proj'], ...form },
  ];
};

const placesOf = ({ name, outputs, names, byTurns }: Joined, numExperts: number): ReadonlyArray<Place> =>
  Array.from({ length: numExperts }, (_, expert) =>
    names.map((own, i) => ({
      module: `${name.slice(0, name.lastIndexOf('.'))}.${expert}.${own}`,
      expert,
      first: byTurns ? i : (i * outputs) / names.length,
      step: byTurns ? names.length : 1,
      outputs: outputs / names.length,
    })),
  ).flat();

/** How a part lies within the matrix of an expert: its entry [r, c] at `first` + r·`step` + c·`row`. */
interface Lie {
  readonly row: number;
  readonly first: number;
  readonly step: number;
}

const lieOf = (
  { outputs, inputs }: Pick<Joined, 'outputs' | 'inputs'>,
  { first, step }: Place,
  outputsFirst: boolean,
): Lie => (outputsFirst ? { row: 1, first: first * inputs, step: step * inputs } : { row: outputs, first, step });

/** Numbers of the same width, whatever they stand for. */
const numbers = (bytes: Uint8Array, width: number): Uint8Array | Uint16Array | Uint32Array => {
  const at = bytes.byteOffset % width === 0 ? bytes : Uint8Array.from(bytes);
  const place = [at.buffer, at.byteOffset, at.byteLength / width] as const;
  if (width === 1) return new Uint8Array(...place);
  return width === 2 ? new Uint16Array(...place) : new Uint32Array(...place);
};

/** Rows and columns that are copied together, so that both sides stay in the cache. */
const tile = 64;

/** to[r·columns + c] = from[first + r·step + c·row] */
const turn = (
  from: Uint8Array | Uint16Array | Uint32Array,
  to: Uint8Array | Uint16Array | Uint32Array,
  { rows, columns, row, first, step }: Lie & { readonly rows: number; readonly columns: number },
): void => {
  for (let r0 = 0; r0 < rows; r0 += tile)
    for (let c0 = 0; c0 < columns; c0 += tile)
      for (let r = r0; r < Math.min(rows, r0 + tile); r++)
        for (let c = c0; c < Math.min(columns, c0 + tile); c++)
          to[r * columns + c] = from[first + c * row + r * step] ?? 0;
};

/**
 * A part of a joined tensor of [experts, inputs, outputs], or [experts, outputs, inputs], or of biases where inputs is 1, as
 * [outputs, inputs].
 */
const partOf = (
  whole: StoredTensor,
  name: string,
  joined: Pick<Joined, 'outputs' | 'inputs'>,
  place: Place,
  outputsFirst = false,
): StoredTensor => {
  const { outputs: all, inputs } = joined;
  const { expert, outputs } = place;
  const shape = name.endsWith('.bias') ? [outputs] : [outputs, inputs];
  const ofExpert = whole.part({ name, shape: [inputs, all], from: expert * inputs * all });
  const width = bytesOfDtype[whole.dtype];
  return madeTensor({ name, dtype: whole.dtype, shape, file: whole.file }, (allocate) =>
    TE.map((bytes: Uint8Array) => {
      const to = allocate(outputs * inputs * width);
      turn(numbers(bytes, width), numbers(to, width), {
        rows: outputs,
        columns: inputs,
        ...lieOf(joined, place, outputsFirst),
      });
      return to;
    })(ofExpert.readBytes()),
  );
};

/** The same of codes [experts, outputs, inputs / 32, 16] and exponents [experts, outputs, inputs / 32]. */
const decodedPart = (
  codes: StoredTensor,
  exponents: StoredTensor,
  name: string,
  { outputs: all, inputs }: Joined,
  { expert, first, step, outputs }: Place,
): StoredTensor => {
  const blocks = inputs / mxfp4Block;
  const of = (stored: StoredTensor, bytes: number): TaskEither<FatalError, Uint8Array> =>
    stored.part({ name, shape: [all, bytes], from: expert * all * bytes }).readBytes();
  return madeTensor({ name, dtype: 'BF16', shape: [outputs, inputs], file: codes.file }, (allocate) =>
    pipe(
      TE.Do,
      TE.bind('ofCodes', () => of(codes, 16 * blocks)),
      TE.bind('ofExponents', () => of(exponents, blocks)),
      TE.map(({ ofCodes, ofExponents }) => {
        const to = allocate(2 * outputs * inputs);
        for (let r = 0; r < outputs; r++) {
          const at = first + r * step;
          decodeMxfp4(
            ofCodes.subarray(16 * blocks * at, 16 * blocks * (at + 1)),
            ofExponents.subarray(blocks * at, blocks * (at + 1)),
            new Uint16Array(to.buffer, 2 * r * inputs, inputs),
          );
        }
        return to;
      }),
    ),
  );
};

const fits = (stored: StoredTensor, ...shape: ReadonlyArray<number>): E.Either<FatalError, StoredTensor> =>
  stored.shape.join() === shape.join()
    ? E.right(stored)
    : E.left(
        fatal('E_WEIGHTS_SHAPE', `tensor "${stored.name}" does not fit config.json`, {
          expected: `[${shape.join(', ')}]`,
          actual: `[${stored.shape.join(', ')}]`,
        }),
      );

/** A joined tensor of a file, and what else of the file it stands for. */
interface Taken {
  readonly names: ReadonlyArray<string>;
  readonly parts: ReadonlyArray<StoredTensor>;
}

const nothingTaken: Taken = { names: [], parts: [] };

const takenOf = (
  joined: Joined,
  sizes: JoinedExperts,
  find: (name: string) => StoredTensor | undefined,
): E.Either<FatalError, Taken> => {
  const { name, outputs, inputs } = joined;
  const { numExperts } = sizes;
  const places = placesOf(joined, numExperts);
  const [whole, codes, exponents, biases] = ['', '_blocks', '_scales', '_bias'].map((end) => find(`${name}${end}`));
  const weights = (): E.Either<FatalError, Taken> => {
    if (whole !== undefined) {
      const isTurned = joined.eitherWay === true && whole.shape.join() === [numExperts, outputs, inputs].join();
      return E.Functor.map(fits(whole, numExperts, ...(isTurned ? [outputs, inputs] : [inputs, outputs])), () => ({
        names: [whole.name],
        parts: places.map((place) => partOf(whole, `${place.module}.weight`, joined, place, isTurned)),
      }));
    }
    if (codes === undefined || exponents === undefined) return E.right(nothingTaken);
    return pipe(
      fits(codes, numExperts, outputs, inputs / mxfp4Block, 16),
      E.flatMap(() => fits(exponents, numExperts, outputs, inputs / mxfp4Block)),
      E.map(() => ({
        names: [codes.name, exponents.name],
        parts: places.map((place) => decodedPart(codes, exponents, `${place.module}.weight`, joined, place)),
      })),
    );
  };
  return pipe(
    weights(),
    E.flatMap((taken) =>
      biases === undefined
        ? E.right(taken)
        : E.Functor.map(fits(biases, numExperts, outputs), () => ({
            names: [...taken.names, biases.name],
            parts: [
              ...taken.parts,
              ...places.map((place) => partOf(biases, `${place.module}.bias`, { outputs, inputs: 1 }, place)),
            ],
          })),
    ),
  );
};

/** Parts, [outputs, inputs] each, as the one tensor [experts, inputs, outputs] that they were or might have been. */
const rejoined = (
  name: string,
  inputs: number,
  { outputs, names, eitherWay }: Joined,
  parts: ReadonlyArray<{ readonly place: Place; readonly tensor: TensorToWrite }>,
): TensorToWrite => {
  const numExperts = parts.length / names.length;
  // Where the shape does not tell, transformers takes outputs for the first.
  const isTurned = eitherWay === true && outputs === inputs;
  return {
    name,
    dtype: 'F32',
    shape: name.endsWith('_bias') ? [numExperts, outputs] : [numExperts, inputs, outputs],
    data: async () => {
      const all = new Float32Array(numExperts * inputs * outputs);
      for (const { place, tensor } of parts) {
        const values = await floatsOf(tensor);
        const { row, first, step } = lieOf({ outputs, inputs }, place, isTurned);
        const start = place.expert * inputs * outputs + first;
        for (let c0 = 0; c0 < inputs; c0 += tile)
          for (let r = 0; r < place.outputs; r++)
            for (let c = c0; c < Math.min(inputs, c0 + tile); c++)
              all[start + r * step + c * row] = values[r * inputs + c] ?? 0;
      }
      return all;
    },
  };
};

/** Reads either way of files, and what was written with each expert apart; writes transformers' layout, in float32. */
export const inputsFirstFiles = (sizes: JoinedExperts): FileLayout => {
  const all = sizes.modules.flatMap((module) => joinedOf(sizes, module));
  return {
    read: (tensors) =>
      pipe(
        all,
        E.traverseArray((joined) =>
          takenOf(joined, sizes, (name) => tensors.get(name) ?? tensors.get(name.replace(/^model\./, ''))),
        ),
        E.map((found) => {
          const gone = new Set(found.flatMap(({ names }) => names));
          return new Map([
            ...[...tensors].filter(([, { name }]) => !gone.has(name)),
            ...found.flatMap(({ parts }) => parts.map((part) => [part.name, part] as const)),
          ]);
        }),
      ),
    write: (tensors) => {
      const byName = new Map(tensors.map((tensor) => [tensor.name, tensor]));
      const done = new Set<string>();
      const written = all.flatMap((joined) =>
        (
          [
            ['weight', joined.name, joined.inputs],
            ['bias', `${joined.name}_bias`, 1],
          ] as const
        ).flatMap(([own, name, inputs]): ReadonlyArray<TensorToWrite> => {
          const parts = placesOf(joined, sizes.numExperts).flatMap((place) => {
            const tensor = byName.get(`${place.module}.${own}`);
            return tensor?.dtype === 'F32' ? [{ place, tensor }] : [];
          });
          // Those that are quantised have no such layout: they stay apart.
          if (parts.length !== sizes.numExperts * joined.names.length) return [];
          for (const { tensor } of parts) done.add(tensor.name);
          return [rejoined(name, inputs, joined, parts)];
        }),
      );
      return [...tensors.filter(({ name }) => !done.has(name)), ...written];
    },
  };
};
