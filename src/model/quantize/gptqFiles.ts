/** GPTQ weights as AutoGPTQ and transformers write and load them. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { float16ToFloat32, float32ToFloat16 } from '../../formats/tensors/float16.js';
import type { StoredTensor, TensorToWrite } from '../../formats/tensors/safetensors.js';
import type { GptqMatrix } from './gptq.js';
import type { GptqConfig, GptqFormat } from './gptqConfig.js';
import type { StoredParts, StoredQuantized } from './stored.js';

const bytesOf = ({ buffer, byteOffset, byteLength }: ArrayBufferView): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** Whether a matrix [outputs, inputs] fills whole 32-bit words both ways, as the format needs. */
export const fitsGptq = ([rows, columns]: readonly [number, number], bits: number): boolean =>
  rows % (32 / bits) === 0 && columns % (32 / bits) === 0;

type Scales = Omit<GptqMatrix, 'codes'>;

/** Input-major: value (i, o) in word [i / perWord, o], lower inputs in lower bits. */
const packInputs = ({ shape: [rows, n], bits }: Scales, codes: Uint8Array): Int32Array => {
  const perWord = 32 / bits;
  const words = new Int32Array((n / perWord) * rows);
  for (let i = 0; i < n; i++)
    for (let row = 0; row < rows; row++) {
      const at = Math.floor(i / perWord) * rows + row;
      words[at] = (words[at] ?? 0) | ((codes[row * n + i] ?? 0) << (bits * (i % perWord)));
    }
  return words;
};

/** The first version of the format stores zeros less 1. */
const zeroOffset = (format: GptqFormat): number => (format === 'gptq' ? 1 : 0);

/** Outputs packed into words. */
const packZeros = ({ shape: [rows], bits, zero }: Scales, format: GptqFormat): Int32Array => {
  const perWord = 32 / bits;
  const words = new Int32Array(zero.length / perWord);
  zero.forEach((value, at) => {
    const [group, row] = [Math.floor(at / rows), at % rows];
    const word = group * (rows / perWord) + Math.floor(row / perWord);
    words[word] = (words[word] ?? 0) | ((value - zeroOffset(format)) << (bits * (row % perWord)));
  });
  return words;
};

/** Whether half precision holds the numbers, as what GPTQ makes here. Bfloat16 ones of others may be out of its range. */
const halves = (scale: Float32Array): boolean =>
  float16ToFloat32(float32ToFloat16(scale)).every((x, i) => x === scale[i]);

/** The tensors of a module whose weight is quantised so; its bias stays as it is. Codes [outputs, inputs] are asked for when they are written. */
export const gptqTensors = (
  module: string,
  scales: Scales,
  codes: () => Uint8Array,
  format: GptqFormat = 'gptq',
): ReadonlyArray<TensorToWrite> => {
  const {
    shape: [rows, n],
    bits,
    scale,
    groupIndex,
  } = scales;
  const groups = scale.length / rows;
  const perWord = 32 / bits;
  return [
    {
      name: `${module}.qweight`,
      dtype: 'I32',
      shape: [n / perWord, rows],
      data: () => bytesOf(packInputs(scales, codes())),
    },
    {
      name: `${module}.qzeros`,
      dtype: 'I32',
      shape: [groups, rows / perWord],
      data: () => bytesOf(packZeros(scales, format)),
    },
    { name: `${module}.scales`, dtype: halves(scale) ? 'F16' : 'F32', shape: [groups, rows], data: scale },
    { name: `${module}.g_idx`, dtype: 'I32', shape: [n], data: bytesOf(groupIndex) },
  ];
};

const misfit = (file: string, field: string, expected: string, actual: string): FatalError =>
  fatal('E_QUANTIZATION', `${file}: the quantised weight does not fit its parts`, { file, field, expected, actual });

const wordsOf = (stored: StoredTensor): TaskEither<FatalError, Int32Array> =>
  TE.map((bytes: Uint8Array) => new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4))(
    stored.readBytes(),
  );

const unpackInputs = (words: Int32Array, [rows, n]: readonly [number, number], bits: 4 | 8): Uint8Array => {
  const [perWord, mask] = [32 / bits, 2 ** bits - 1];
  const codes = new Uint8Array(rows * n);
  for (let i = 0; i < n; i++) {
    const [word, shift] = [Math.floor(i / perWord) * rows, bits * (i % perWord)];
    for (let row = 0; row < rows; row++) codes[row * n + i] = ((words[word + row] ?? 0) >>> shift) & mask;
  }
  return codes;
};

const unpackZeros = (words: Int32Array, count: number, bits: 4 | 8, format: GptqFormat): Uint16Array => {
  const [perWord, mask] = [32 / bits, 2 ** bits - 1];
  // Rows are whole words, so that words and zeros run alike.
  return Uint16Array.from(
    { length: count },
    (_, at) => (((words[Math.floor(at / perWord)] ?? 0) >>> (bits * (at % perWord))) & mask) + zeroOffset(format),
  );
};

/** A module's packed weight, checked against its other parts. */
const stored = (
  tensors: ReadonlyMap<string, StoredTensor>,
  module: string,
  qweight: StoredTensor,
  { bits, groupSize, format }: GptqConfig,
): Either<FatalError, StoredQuantized> => {
  const { file } = qweight;
  const part = (name: string): string => `${module}.${name}`;
  const [words = 0, rows = 0] = qweight.shape;
  const perWord = 32 / bits;
  const n = words * perWord;
  const index = tensors.get(part('g_idx'));
  const groups = Math.ceil(n / (groupSize === -1 ? n : groupSize));
  const wanted: ReadonlyArray<readonly [string, ReadonlyArray<string>, ReadonlyArray<number>]> = [
    ['qweight', ['I32'], [words, rows]],
    ['qzeros', ['I32'], [groups, rows / perWord]],
    ['scales', ['F16', 'BF16', 'F32'], [groups, rows]],
    ...(index === undefined ? [] : [['g_idx', ['I32', 'I64'], [n]] as const]),
  ];
  for (const [name, dtypes, shape] of wanted) {
    const found = tensors.get(part(name));
    const said = (dtype: string, dimensions: ReadonlyArray<number>): string => `${dtype} ${JSON.stringify(dimensions)}`;
    if (found === undefined) return E.left(misfit(file, part(name), part(name), 'nothing of that name'));
    if (!dtypes.includes(found.dtype) || JSON.stringify(found.shape) !== JSON.stringify(shape))
      return E.left(misfit(file, part(name), said(dtypes.join(' or '), shape), said(found.dtype, found.shape)));
  }
  const [qzeros, scales] = [tensors.get(part('qzeros')), tensors.get(part('scales'))];
  if (qzeros === undefined || scales === undefined) return E.left(misfit(file, module, 'qzeros and scales', 'none'));
  const size = groupSize === -1 ? n : groupSize;
  const inOrder = Int32Array.from({ length: n }, (_, i) => Math.floor(i / size));
  return E.right({
    name: part('weight'),
    shape: [rows, n],
    read: () =>
      pipe(
        index === undefined
          ? TE.right(inOrder)
          : TE.map((values: Float32Array) => Int32Array.from(values))(index.read()),
        TE.filterOrElse(
          (groupIndex) => groupIndex.every((group) => group >= 0 && group < groups),
          () => misfit(file, part('g_idx'), `numbers of ${groups} groups`, 'others'),
        ),
        TE.bindTo('groupIndex'),
        TE.bind('codes', () => TE.map((packed: Int32Array) => unpackInputs(packed, [rows, n], bits))(wordsOf(qweight))),
        TE.bind('zero', () =>
          TE.map((packed: Int32Array) => unpackZeros(packed, groups * rows, bits, format))(wordsOf(qzeros)),
        ),
        TE.bind('scale', () => TE.map((values: Float32Array) => values.slice())(scales.read())),
        TE.map(({ groupIndex, codes, zero, scale }): GptqMatrix => {
          return { kind: 'gptq', shape: [rows, n], bits, codes, scale, zero, groupIndex };
        }),
      ),
  });
};

const partEndings = /\.(qweight|qzeros|scales|g_idx)$/;

/** Sorts the tensors of a checkpoint into quantised weights and the rest. `E_QUANTIZATION` for parts that do not fit. */
export const storedGptq = (
  tensors: ReadonlyMap<string, StoredTensor>,
  config: GptqConfig,
): Either<FatalError, StoredParts> => {
  const quantized = new Map<string, StoredQuantized>();
  const plain = new Map<string, StoredTensor>();
  for (const [name, found] of tensors) {
    const module = name.replace(partEndings, '');
    if (module === name || !tensors.has(`${module}.qweight`)) plain.set(name, found);
    else if (name.endsWith('.qweight')) {
      const weight = stored(tensors, module, found, config);
      if (E.isLeft(weight)) return weight;
      quantized.set(weight.right.name, weight.right);
    }
  }
  return E.right({ quantized, plain });
};
