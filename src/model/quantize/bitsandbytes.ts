/** Quantised weights as bitsandbytes lays them out in safetensors files. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { decodeFrom } from '../../formats/json/json.js';
import type { StoredTensor, TensorToWrite } from '../../formats/tensors/safetensors.js';
import { dynamicMap } from './dynamicMap.js';
import { fourBitCodes } from './fourBit.js';
import type { FourBitKind } from './fourBit.js';
import type { Int8Rows } from './int8.js';
import { isNested } from './matrix.js';
import type { FourBitMatrix, QuantizedMatrix } from './matrix.js';
import type { StoredParts, StoredQuantized } from './stored.js';

const stateName = (weight: string, kind: FourBitKind): string => `${weight}.quant_state.bitsandbytes__${kind}`;

/** Python's json.dumps: a space after colons and commas. */
const pythonJson = (value: unknown): string => {
  if (Array.isArray(value)) return `[${value.map(pythonJson).join(', ')}]`;
  if (typeof value === 'object' && value !== null)
    return `{${Object.entries(value)
      .map(([key, item]) => `${JSON.stringify(key)}: ${pythonJson(item)}`)
      .join(', ')}}`;
  return JSON.stringify(value);
};

const moduleOf = (weight: string): string => weight.slice(0, weight.lastIndexOf('.'));

const fourBitTensors = (
  weight: string,
  { kind, shape, blockSize, scale }: Omit<FourBitMatrix, 'codes'>,
  codes: () => Uint8Array,
): ReadonlyArray<TensorToWrite> => {
  const nested = isNested(scale) ? scale : undefined;
  const state = new TextEncoder().encode(
    pythonJson({
      quant_type: kind,
      blocksize: blockSize,
      dtype: 'float32',
      shape,
      ...(nested === undefined
        ? {}
        : { nested_blocksize: nested.blockSize, nested_dtype: 'float32', nested_offset: nested.offset }),
    }),
  );
  const floats = (name: string, values: Float32Array): TensorToWrite => ({
    name: `${weight}.${name}`,
    dtype: 'F32',
    shape: [values.length],
    data: values,
  });
  return [
    { name: weight, dtype: 'U8', shape: [Math.ceil((shape[0] * shape[1]) / 2), 1], data: codes },
    isNested(scale)
      ? { name: `${weight}.absmax`, dtype: 'U8', shape: [scale.codes.length], data: scale.codes }
      : floats('absmax', scale),
    ...(nested === undefined ? [] : [floats('nested_absmax', nested.absmax), floats('nested_quant_map', dynamicMap)]),
    floats('quant_map', fourBitCodes[kind]),
    { name: stateName(weight, kind), dtype: 'U8', shape: [state.length], data: state },
  ];
};

/** The tensors of a quantised weight, as bitsandbytes names and shapes them; its codes are asked for when they are written. */
export const quantizedTensors = (
  weight: string,
  scales: Omit<Int8Rows, 'codes'> | Omit<FourBitMatrix, 'codes'>,
  codes: () => Int8Array | Uint8Array,
): ReadonlyArray<TensorToWrite> => {
  const bytes = (): Uint8Array => {
    const { buffer, byteOffset, byteLength } = codes();
    return new Uint8Array(buffer, byteOffset, byteLength);
  };
  if (scales.kind !== 'int8') return fourBitTensors(weight, scales, bytes);
  const { scale, shape } = scales;
  return [
    { name: weight, dtype: 'I8', shape: [...shape], data: bytes },
    { name: `${moduleOf(weight)}.SCB`, dtype: 'F32', shape: [scale.length], data: scale },
    // 0: rows as they are, not reordered for some device.
    { name: `${moduleOf(weight)}.weight_format`, dtype: 'U8', shape: [], data: Uint8Array.of(0) },
  ];
};

const State = t.intersection(
  [
    t.type({
      quant_type: t.keyof({ nf4: null, fp4: null }, 'nf4 or fp4'),
      blocksize: t.number,
      shape: t.tuple([t.number, t.number], 'two lengths'),
    }),
    t.partial({ nested_blocksize: t.number, nested_offset: t.number }),
  ],
  'a quantisation state of bitsandbytes',
);

const misfit = ({ file }: StoredTensor, field: string, expected: string, actual: string): FatalError =>
  fatal('E_QUANTIZATION', `${file}: the quantised weight does not fit its parts`, { file, field, expected, actual });

const lacks = (weight: StoredTensor, field: string): FatalError => misfit(weight, field, field, 'nothing of that name');

const floatsOf = (
  tensors: ReadonlyMap<string, StoredTensor>,
  weight: StoredTensor,
  name: string,
  count: number,
): TaskEither<FatalError, Float32Array> => {
  const found = tensors.get(name);
  if (found === undefined) return TE.left(lacks(weight, name));
  return pipe(
    found.read(),
    TE.filterOrElse(
      ({ length }) => length === count,
      ({ length }) => misfit(weight, name, `${count} values`, `${length}`),
    ),
  );
};

/** Code maps other than bitsandbytes' own would be read as its. */
const sameMap =
  (weight: StoredTensor, name: string, expected: Float32Array) =>
  (found: Float32Array): E.Either<FatalError, void> =>
    found.every((x, i) => Math.abs(x - (expected[i] ?? NaN)) < 1e-6)
      ? E.right(undefined)
      : E.left(misfit(weight, name, 'the codes of bitsandbytes', 'others'));

const readInt8 = (
  tensors: ReadonlyMap<string, StoredTensor>,
  weight: StoredTensor,
  shape: readonly [number, number],
): TaskEither<FatalError, QuantizedMatrix> =>
  pipe(
    floatsOf(tensors, weight, `${moduleOf(weight.name)}.SCB`, shape[0]),
    TE.bindTo('scale'),
    TE.bind('bytes', () => weight.readBytes()),
    TE.map(({ scale, bytes }) => ({
      kind: 'int8' as const,
      shape,
      scale,
      codes: new Int8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength),
    })),
  );

const readFourBit = (
  tensors: ReadonlyMap<string, StoredTensor>,
  weight: StoredTensor,
  { quant_type: kind, blocksize: blockSize, shape, nested_blocksize, nested_offset }: t.TypeOf<typeof State>,
): TaskEither<FatalError, QuantizedMatrix> => {
  const size = shape[0] * shape[1];
  const blocks = Math.ceil(size / blockSize);
  const part = (name: string): string => `${weight.name}.${name}`;
  const isDouble = nested_blocksize !== undefined;
  if (weight.byteLength !== Math.ceil(size / 2))
    return TE.left(misfit(weight, weight.name, `${Math.ceil(size / 2)} bytes`, `${weight.byteLength}`));
  const absmax = tensors.get(part('absmax'));
  if (absmax === undefined) return TE.left(lacks(weight, part('absmax')));
  const scale = isDouble
    ? pipe(
        floatsOf(tensors, weight, part('nested_absmax'), Math.ceil(blocks / nested_blocksize)),
        TE.bindTo('top'),
        TE.tap(() =>
          pipe(
            floatsOf(tensors, weight, part('nested_quant_map'), 256),
            TE.flatMapEither(sameMap(weight, part('nested_quant_map'), dynamicMap)),
          ),
        ),
        TE.bind('codes', () => absmax.readBytes()),
        TE.filterOrElse(
          ({ codes }) => codes.length === blocks,
          ({ codes }) => misfit(weight, part('absmax'), `${blocks} bytes`, `${codes.length}`),
        ),
        TE.map(({ top, codes }): FourBitMatrix['scale'] => ({
          codes,
          absmax: top,
          offset: nested_offset ?? 0,
          blockSize: nested_blocksize,
        })),
      )
    : TE.map((values: Float32Array): FourBitMatrix['scale'] => values)(
        floatsOf(tensors, weight, part('absmax'), blocks),
      );
  return pipe(
    scale,
    TE.bindTo('scale'),
    TE.tap(() =>
      pipe(
        floatsOf(tensors, weight, part('quant_map'), 16),
        TE.flatMapEither(sameMap(weight, part('quant_map'), fourBitCodes[kind])),
      ),
    ),
    TE.bind('codes', () => weight.readBytes()),
    TE.map(({ scale: read, codes }) => ({ kind, shape, blockSize, codes, scale: read })),
  );
};

const partEndings = /\.(absmax|quant_map|nested_absmax|nested_quant_map|quant_state\.bitsandbytes__(?:nf4|fp4))$/;

/** Sorts the tensors of a checkpoint into quantised weights and the rest. `E_QUANTIZATION` for parts that do not fit. */
export const storedParts = (tensors: ReadonlyMap<string, StoredTensor>): TaskEither<FatalError, StoredParts> => {
  const kinds = ['nf4', 'fp4'] as const;
  const readAll = async (): Promise<E.Either<FatalError, StoredParts>> => {
    const quantized = new Map<string, StoredQuantized>();
    const plain = new Map<string, StoredTensor>();
    for (const [name, stored] of tensors) {
      const module = moduleOf(name);
      const [first = 0, second = 0] = stored.shape;
      const kind = kinds.find((candidate) => tensors.has(stateName(name, candidate)));
      const state = kind === undefined ? undefined : tensors.get(stateName(name, kind));
      if (state !== undefined) {
        const bytes = await state.readBytes()();
        if (E.isLeft(bytes)) return bytes;
        const parsed = pipe(
          E.tryCatch(
            () => JSON.parse(new TextDecoder().decode(bytes.right)) as unknown,
            (cause) =>
              fatal('E_QUANTIZATION', `${state.file}: "${state.name}" is no JSON`, { file: state.file, cause }),
          ),
          E.flatMap(decodeFrom(State, state.file, 'E_QUANTIZATION')),
        );
        if (E.isLeft(parsed)) return parsed;
        const { shape } = parsed.right;
        quantized.set(name, { name, shape, read: () => readFourBit(tensors, stored, parsed.right) });
      } else if (name.endsWith('.weight') && tensors.has(`${module}.SCB`)) {
        const shape = [first, second] as const;
        quantized.set(name, { name, shape, read: () => readInt8(tensors, stored, shape) });
      } else if (
        !(partEndings.test(name) && tensors.has(name.replace(partEndings, ''))) &&
        !(/\.(SCB|weight_format)$/.test(name) && tensors.has(`${module}.weight`))
      ) {
        plain.set(name, stored);
      }
    }
    return E.right({ quantized, plain });
  };
  return readAll;
};
