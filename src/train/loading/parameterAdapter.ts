/**
 * Adapters over parameters that hold all experts of a layer, PEFT's `target_parameters`: seen as adapters of each expert's maps.
 *
 * Of a parameter [E, out, in] PEFT has A [E·r, in], r rows for each expert after those of the one before, and B [out, r·E], whose columns
 * hold a column of every expert, then the next of every expert. Where rows of the parameter belong to several maps (gates, then ups),
 * each gets the rows of B that are its own, and an A of its own of the same values.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { AdapterLora } from '../../formats/checkpoints/adapterConfig.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';
import { adapterNames } from '../../model/adapters/adapterNames.js';
import { fromPattern } from '../../model/adapters/lora.js';
import { isNamed } from '../../model/adapters/moduleNames.js';
import type { JoinedTensor } from '../../model/architecture.js';
import { architectureOf } from '../../model/architectures.js';
import type { ModelConfig } from '../../model/config.js';

type Tensors = ReadonlyMap<string, StoredTensor>;

interface Halves {
  readonly a: StoredTensor;
  readonly b: StoredTensor;
}

/** A file's tensor, read once for all that take a part of it, and kept until the last has. */
const readOnce = (tensor: StoredTensor, takers: number): TaskEither<FatalError, Float32Array> => {
  let reading: Promise<Either<FatalError, Float32Array>> | undefined;
  let left = takers;
  return () => {
    const values = (reading ??= tensor.read()());
    if (--left <= 0) reading = undefined;
    return values;
  };
};

/** The parameter's name without its own: PEFT wraps the module, a second time for a second parameter of it. */
const moduleOf = (name: string): string => name.slice(0, name.lastIndexOf('.'));

const sizes = ({
  shape,
}: JoinedTensor): { readonly experts: number; readonly outputs: number; readonly inputs: number } => {
  const [experts = 1, outputs = 1, inputs = 1] = shape;
  return { experts, outputs, inputs };
};

/** The adapter of a parameter: of those around its module, the one that fits its shape. */
const halvesOf = (parameter: JoinedTensor, tensors: Tensors): Halves | undefined => {
  const { experts, outputs, inputs } = sizes(parameter);
  const module = moduleOf(parameter.name);
  for (const wrapped of [module, `${module}.base_layer`]) {
    const names = adapterNames(wrapped);
    const [a, b] = [tensors.get(names.a), tensors.get(names.b)];
    const [rows = 0, width] = a?.shape ?? [];
    const fits = rows % experts === 0 && width === inputs && b?.shape.join() === `${outputs},${rows}`;
    if (a !== undefined && b !== undefined && fits) return { a, b };
  }
  return undefined;
};

/** Rows `first`, … of one expert's columns of B. */
const columnsOf = (
  b: Float32Array,
  { first, rows, rank, experts, expert }: Readonly<Record<'first' | 'rows' | 'rank' | 'experts' | 'expert', number>>,
): Float32Array => {
  const own = new Float32Array(rows * rank);
  for (let row = 0; row < rows; row++)
    for (let i = 0; i < rank; i++) own[row * rank + i] = b[((first + row) * rank + i) * experts + expert] ?? 0;
  return own;
};

/** The maps of each expert, in order; each is so many rows of the expert's part. */
const partsOf = (parameter: JoinedTensor): { readonly names: ReadonlyArray<string>; readonly perExpert: number } => ({
  names: parameter.parts.map(moduleOf),
  perExpert: parameter.parts.length / sizes(parameter).experts,
});

/** The adapters of every expert's maps. */
const spread = (parameter: JoinedTensor, { a, b }: Halves): ReadonlyArray<readonly [string, StoredTensor]> => {
  const { experts, outputs, inputs } = sizes(parameter);
  const { names, perExpert } = partsOf(parameter);
  const rank = (a.shape[0] ?? 0) / experts;
  const rows = outputs / perExpert;
  const read = readOnce(b, names.length);
  return names.flatMap((module, i): ReadonlyArray<readonly [string, StoredTensor]> => {
    const own = adapterNames(module);
    const expert = Math.floor(i / perExpert);
    const place = { first: (i % perExpert) * rows, rows, rank, experts, expert };
    const partOfB = b.part({ name: own.b, shape: [rows, rank], from: 0 });
    return [
      [own.a, a.part({ name: own.a, shape: [rank, inputs], from: expert * rank * inputs })],
      [own.b, { ...partOfB, read: () => TE.map((values: Float32Array) => columnsOf(values, place))(read) }],
    ];
  });
};

/** A regular expression of the experts' modules, whatever their number. */
const expressionOf = (parameter: JoinedTensor): string => {
  const { names, perExpert } = partsOf(parameter);
  const escaped = names
    .slice(0, perExpert)
    .map((name) => name.replace(/\.0\.(?=[^.]*$)/, '.#.').replaceAll('.', '\\.'));
  return escaped.map((name) => name.replace('#', '\\d+')).join('|');
};

/** Modules by a list of their names, as an expression that is matched with a whole name. */
const asExpression = (targets: AdapterLora['targetModules']): ReadonlyArray<string> =>
  typeof targets === 'string' ? [targets] : (targets ?? []).map((name) => `(?:.*\\.)?${name.replaceAll('.', '\\.')}`);

const unknownParameter = (key: string, known: ReadonlyArray<JoinedTensor>): FatalError =>
  fatal('E_ADAPTER_UNSUPPORTED', `the adapter is of a parameter "${key}", which holds no experts`, {
    field: 'target_parameters',
    expected:
      known.length === 0
        ? 'a model with experts'
        : `one of ${[...new Set(known.map(({ name }) => name.replace(/^.*\.\d+\./, '')))].join(', ')}`,
    actual: key,
  });

/**
 * The adapter with what it has over parameters of experts spread over their maps. `E_ADAPTER_UNSUPPORTED` for another parameter,
 * `E_LORA_WEIGHTS` where the tensors do not fit the model.
 */
export const spreadOverExperts = (
  config: ModelConfig,
  { targetParameters = [], ...lora }: AdapterLora,
  tensors: Tensors,
): Either<FatalError, { readonly lora: Omit<AdapterLora, 'targetParameters'>; readonly tensors: Tensors }> => {
  if (targetParameters.length === 0) return E.right({ lora, tensors });
  const packed = architectureOf(config).packed.filter(({ shape }) => shape.length === 3);
  const unknown = targetParameters.find((key) => !packed.some(({ name }) => isNamed(name, [key])));
  if (unknown !== undefined) return E.left(unknownParameter(unknown, packed));
  return pipe(
    packed.filter(({ name }) => isNamed(name, targetParameters)),
    E.traverseArray((parameter) => {
      const halves = halvesOf(parameter, tensors);
      const { experts, outputs, inputs } = sizes(parameter);
      return halves === undefined
        ? E.left(
            fatal('E_LORA_WEIGHTS', `the adapter has nothing that fits "${parameter.name}"`, {
              expected: `A [${experts} r, ${inputs}], B [${outputs}, ${experts} r]`,
            }),
          )
        : E.right({ parameter, halves });
    }),
    E.map((found) => {
      const taken = new Set(found.flatMap(({ halves: { a, b } }) => [a, b]));
      const patterns = (
        given: Readonly<Record<string, number>>,
        otherwise: number,
      ): Readonly<Record<string, number>> =>
        Object.keys(given).length === 0
          ? given
          : {
              ...Object.fromEntries(
                found.map(({ parameter }) => [expressionOf(parameter), fromPattern(given, parameter.name, otherwise)]),
              ),
              ...given,
            };
      return {
        lora: {
          ...lora,
          targetModules: [...asExpression(lora.targetModules), ...found.map(({ parameter }) => expressionOf(parameter))]
            .map((one) => `(?:${one})`)
            .join('|'),
          rankPattern: patterns(lora.rankPattern, lora.r),
          alphaPattern: patterns(lora.alphaPattern, lora.loraAlpha),
        },
        tensors: new Map([
          ...Array.from(tensors).filter(([, tensor]) => !taken.has(tensor)),
          ...found.flatMap(({ parameter, halves }) => spread(parameter, halves)),
        ]),
      };
    }),
  );
};
