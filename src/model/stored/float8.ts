/**
 * Matrices of float8 (E4M3) whose blocks share a scale, as DeepSeek-V3's checkpoints hold them, and others that were quantised alike: they
 * are read as bfloat16, rounded as DeepSeek's own conversion does.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import * as t from 'io-ts';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { float32ToBfloat16 } from '../../formats/tensors/float16.js';
import { madeTensor } from '../../formats/tensors/madeTensor.js';
import type { StoredTensor } from '../../formats/tensors/storedTensor.js';

/** Rows and columns of a block. */
export type Float8Block = readonly [rows: number, columns: number];

const isBlock = (u: unknown): u is Float8Block =>
  Array.isArray(u) &&
  u.length === 2 &&
  u.every((size) => typeof size === 'number' && Number.isInteger(size) && size > 0);

const refused = (field: string, expected: string, actual: unknown): E.Either<FatalError, never> =>
  E.left(
    fatal('E_QUANTIZATION', `quantization_config: float8 weights of this ${field} are not read`, {
      field: `quantization_config.${field}`,
      expected,
      actual: JSON.stringify(actual),
      hint: 'load the checkpoint in bfloat16',
    }),
  );

/** The blocks of a config.json that says `quant_method` fp8; undefined for others. `E_QUANTIZATION` for other formats than E4M3 in blocks. */
export const float8Block = (raw: Readonly<Record<string, unknown>>): E.Either<FatalError, Float8Block | undefined> => {
  const fields = raw['quantization_config'];
  if (!t.UnknownRecord.is(fields) || fields['quant_method'] !== 'fp8') return E.right(undefined);
  const { fmt = 'e4m3', weight_block_size: size } = fields;
  if (fmt !== 'e4m3') return refused('fmt', 'e4m3', fmt);
  return isBlock(size) ? E.right(size) : refused('weight_block_size', 'two whole numbers > 0', size);
};

/** Values of the 256 codes of E4M3 (the variant without infinities), exact: 4 bits of exponent + 7, 3 of fraction; all ones is NaN. */
const valuesOfCodes = (): Float32Array =>
  Float32Array.from({ length: 256 }, (_, code) => {
    const [exponent, fraction] = [(code >> 3) & 15, code & 7];
    if (exponent === 15 && fraction === 7) return NaN;
    const magnitude = exponent === 0 ? fraction * 2 ** -9 : (1 + fraction / 8) * 2 ** (exponent - 7);
    return code < 128 ? magnitude : -magnitude;
  });

let table: Float32Array | undefined;

interface Shape {
  readonly rows: number;
  readonly columns: number;
  readonly block: Float8Block;
}

/** Codes [rows, columns] times the scales [⌈rows / blockRows⌉, ⌈columns / blockColumns⌉] of their blocks, as bfloat16, to `to`. */
const decodeFloat8 = (
  codes: Uint8Array,
  scales: Float32Array,
  { rows, columns, block: [blockRows, blockColumns] }: Shape,
  to: Uint16Array<ArrayBuffer>,
): void => {
  table ??= valuesOfCodes();
  const across = Math.ceil(columns / blockColumns);
  const row = new Float32Array(columns);
  for (let r = 0; r < rows; r++) {
    const first = Math.floor(r / blockRows) * across;
    for (let b = 0; b < across; b++) {
      const scale = scales[first + b] ?? NaN;
      for (let c = b * blockColumns; c < Math.min(columns, (b + 1) * blockColumns); c++)
        row[c] = (table[codes[r * columns + c] ?? 0] ?? NaN) * scale;
    }
    float32ToBfloat16(row, to.subarray(r * columns, (r + 1) * columns));
  }
};

const decoded = (codes: StoredTensor, scales: StoredTensor, shape: Shape): StoredTensor =>
  madeTensor({ name: codes.name, dtype: 'BF16', shape: codes.shape, file: codes.file }, (allocate) =>
    pipe(
      TE.Do,
      TE.bind('ofCodes', () => codes.readBytes()),
      TE.bind('ofScales', () => scales.read()),
      TE.map(({ ofCodes, ofScales }) => {
        const to = allocate(2 * ofCodes.length);
        decodeFloat8(ofCodes, ofScales, shape, new Uint16Array(to.buffer, to.byteOffset, ofCodes.length));
        return to;
      }),
    ),
  );

const scaleName = (name: string): string => `${name}_scale_inv`;

/** A file's tensors by name, matrices of float8 as bfloat16 and their scales gone; values are read when they are wanted. `E_WEIGHTS_SHAPE`. */
export const withoutFloat8 = (
  tensors: ReadonlyMap<string, StoredTensor>,
  block: Float8Block,
): E.Either<FatalError, ReadonlyMap<string, StoredTensor>> => {
  const all = new Map(tensors);
  for (const [name, codes] of tensors) {
    const scales = tensors.get(scaleName(name));
    const [rows, columns] = codes.shape;
    if (codes.dtype !== 'F8_E4M3' || scales === undefined || rows === undefined || columns === undefined) continue;
    const wanted = [Math.ceil(rows / block[0]), Math.ceil(columns / block[1])];
    if (codes.shape.length !== 2 || scales.shape.join() !== wanted.join())
      return E.left(
        fatal('E_WEIGHTS_SHAPE', `tensor "${scales.name}" does not fit the blocks of config.json`, {
          expected: `[${wanted.join(', ')}]`,
          actual: `[${scales.shape.join(', ')}]`,
        }),
      );
    all.set(name, decoded(codes, scales, { rows, columns, block }));
    all.delete(scaleName(name));
  }
  return E.right(all);
};
