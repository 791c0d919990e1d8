/** What llama.cpp wants to know of a model: which architecture, its numbers, and its tensors under other names. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { fatal } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { ModelConfig } from '../config.js';
import type { TensorSpec } from '../weights.js';

/** Rows that follow each other, and what their numbers are multiplied by. */
export interface Run {
  /** Infinity: all that are left. */
  readonly rows: number;
  readonly by: number;
}

/** How a tensor is to be rearranged. */
export type Arrangement =
  | { readonly kind: 'asIs' }
  /** [inputs, outputs] to [outputs, inputs]. */
  | { readonly kind: 'transposed' }
  /** Rows of each head that turn together lie beside each other instead of half a head apart. */
  | { readonly kind: 'interleaved'; readonly heads: number }
  /** Of each group of rows its parts, of so many rows each, one after the other: all first parts, then all second ones, … */
  | { readonly kind: 'ungrouped'; readonly groups: number; readonly sizes: ReadonlyArray<number> }
  /** Added to every number. */
  | { readonly kind: 'offset'; readonly by: number }
  /** The rows at `order`, as many as it has; numbers, of a tensor of one dimension. Dimensions of length 1 are left out. */
  | { readonly kind: 'rows'; readonly order: ReadonlyArray<number> }
  /** The columns of a matrix at `order`, which is a permutation. */
  | { readonly kind: 'columns'; readonly order: ReadonlyArray<number> }
  /** Dimensions of length 1 left out. */
  | { readonly kind: 'squeezed' }
  /** Under another shape. */
  | { readonly kind: 'shaped'; readonly shape: ReadonlyArray<number> }
  /** Rows of zeros behind its own, to so many. */
  | { readonly kind: 'padded'; readonly rows: number }
  /** The first so many rows times a number, the next so many times another, …: as many runs as the rows need. */
  | { readonly kind: 'scaled'; readonly runs: ReadonlyArray<Run> }
  /** Each of so many groups of rows, a matrix, turned: [count · rows, columns] to [count, columns, rows]. */
  | { readonly kind: 'eachTurned'; readonly count: number }
  /** Rates of decay: files have the logarithm of what the state loses. */
  | { readonly kind: 'decaying' }
  /** The one, and then the other. */
  | { readonly kind: 'inTurn'; readonly first: Arrangement; readonly then: Arrangement };

export interface GgufTensor {
  /** Name in the checkpoint; of several of one shape that lie one after the other there, under one more dimension. */
  readonly sources: ReadonlyArray<string>;
  readonly name: string;
  readonly arrangement: Arrangement;
  /** No adapter is added to it there. */
  readonly fixed?: boolean;
  /** The weight whose numbers multiply what each of its parts puts out there, but not what an adapter adds. */
  readonly factorsOf?: string;
}

export interface GgufLayout {
  /** llama.cpp's name, the first part of the names of `metadata` too. */
  readonly architecture: string;
  readonly metadata: GgufMetadata;
  readonly tensors: ReadonlyArray<GgufTensor>;
  /** Weights whose numbers are metadata there, one after the other under one name. Default: none. */
  readonly told?: ReadonlyArray<{ readonly name: string; readonly sources: ReadonlyArray<string> }>;
  /** Tensors that the checkpoint has not. */
  readonly extra: ReadonlyArray<{ readonly name: string; readonly values: Float32Array }>;
  readonly warnings: ReadonlyArray<Warning>;
}

export type LayoutOf<C> = (config: C, specs: ReadonlyArray<TensorSpec>) => E.Either<FatalError, GgufLayout>;

export const asIs: Arrangement = { kind: 'asIs' };

export const squeezed: Arrangement = { kind: 'squeezed' };
export const decaying: Arrangement = { kind: 'decaying' };
export const rowsAt = (order: ReadonlyArray<number>): Arrangement => ({ kind: 'rows', order });
export const shaped = (shape: ReadonlyArray<number>): Arrangement => ({ kind: 'shaped', shape });
export const columnsAt = (order: ReadonlyArray<number>): Arrangement => ({ kind: 'columns', order });
export const scaled = (runs: ReadonlyArray<Run>): Arrangement => ({ kind: 'scaled', runs });
export const scaledBy = (by: number): Arrangement => scaled([{ rows: Infinity, by }]);
export const inTurn = (first: Arrangement, then: Arrangement): Arrangement => ({ kind: 'inTurn', first, then });

/** `E_GGUF_UNSUPPORTED`: llama.cpp has the architecture, but not with this setting. */
export const unsupported = (field: string, expected: string, actual: unknown): FatalError =>
  fatal('E_GGUF_UNSUPPORTED', 'llama.cpp cannot run a model of this configuration', {
    field,
    expected,
    actual: JSON.stringify(actual),
  });

/** The tensors with an output head of its own, which llama.cpp wants of some, where it is the embedding's table here. */
export const withHead = (tensors: ReadonlyArray<GgufTensor>, embedding: string): ReadonlyArray<GgufTensor> => {
  const head = { sources: [`${embedding}.weight`], name: 'output.weight', arrangement: asIs };
  return tensors.some(({ name }) => name === head.name) ? tensors : [...tensors, head];
};

/** A module's name there, by its name here, or by what `alias` makes of that, without the number of its layer. */
export const renamed = (
  specs: ReadonlyArray<TensorSpec>,
  layers: RegExp,
  inLayer: Readonly<Record<string, string>>,
  outside: Readonly<Record<string, string>>,
  alias: (name: string) => string = (name) => name,
): ReadonlyArray<{ readonly spec: TensorSpec; readonly module: string; readonly name: string }> =>
  specs.map((spec) => {
    const known = alias(spec.name);
    const ending = known.slice(known.lastIndexOf('.'));
    const path = known.slice(0, -ending.length);
    const [, number, module = path] = layers.exec(path) ?? [];
    const found = number === undefined ? outside[module] : inLayer[module];
    // Layouts name every module of their architecture.
    if (found === undefined) throw new TypeError(`"${spec.name}" has no name in GGUF`);
    const own = ending === '.alone' ? '' : ending;
    return { spec, module, name: `${number === undefined ? '' : `blk.${number}.`}${found}${own}` };
  });

/** A part of a tensor: rows of it, and what it is called in its layer. */
export interface Cut {
  readonly name: string;
  readonly rows: ReadonlyArray<number>;
}

export const counted = (length: number, first = 0): ReadonlyArray<number> =>
  Array.from({ length }, (_, i) => first + i);

/** The first `size` rows under one name, and the next under another. */
export const halved = (first: string, then: string, size: number): ReadonlyArray<Cut> => [
  { name: `${first}.weight`, rows: counted(size) },
  { name: `${then}.weight`, rows: counted(size, size) },
];

/** A layout of models without tensors of this name, of models that have some: they are written in parts, in the layer that the name tells. */
export const withCut =
  <C extends ModelConfig>(layout: LayoutOf<C>, name: RegExp, partsOf: (config: C) => ReadonlyArray<Cut>): LayoutOf<C> =>
  (config, specs) =>
    pipe(
      layout(
        config,
        specs.filter((spec) => !name.test(spec.name)),
      ),
      E.map((whole) => ({
        ...whole,
        tensors: [
          ...whole.tensors,
          ...specs.flatMap((spec) => {
            const layer = name.exec(spec.name)?.[1];
            const cuts = layer === undefined ? [] : partsOf(config);
            return cuts.map((cut) => ({
              sources: [spec.name],
              name: `blk.${layer}.${cut.name}`,
              arrangement: rowsAt(cut.rows),
            }));
          }),
        ],
      })),
    );

const withoutOnes = (shape: ReadonlyArray<number>): ReadonlyArray<number> => shape.filter((length) => length !== 1);

/** The shape of a tensor in its new arrangement. */
export const arrangedShape = (shape: ReadonlyArray<number>, arrangement: Arrangement): ReadonlyArray<number> => {
  switch (arrangement.kind) {
    case 'transposed':
      return shape.toReversed();
    case 'rows':
      return [arrangement.order.length, ...withoutOnes(shape.slice(1))];
    case 'squeezed':
      return withoutOnes(shape);
    case 'shaped':
      return arrangement.shape;
    case 'padded':
      return [arrangement.rows, ...shape.slice(1)];
    case 'eachTurned': {
      const [rows = 1, columns = 1] = shape;
      return [arrangement.count, columns, rows / arrangement.count];
    }
    case 'inTurn':
      return arrangedShape(arrangedShape(shape, arrangement.first), arrangement.then);
    default:
      return shape;
  }
};
