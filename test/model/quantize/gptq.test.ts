import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { gptq, gptqValues } from '../../../src/model/quantize/gptq.js';
import { gptqTensors } from '../../../src/model/quantize/gptqFiles.js';

interface Golden {
  readonly weight: ReadonlyArray<ReadonlyArray<number>>;
  readonly hessian: ReadonlyArray<ReadonlyArray<number>>;
  readonly cases: ReadonlyArray<{
    readonly bits: 4 | 8;
    readonly groupSize: number;
    readonly descAct: boolean;
    readonly sym: boolean;
    readonly codes: ReadonlyArray<ReadonlyArray<number>>;
    readonly scales: ReadonlyArray<ReadonlyArray<number>>;
    readonly zeros: ReadonlyArray<ReadonlyArray<number>>;
    readonly groupIndex: ReadonlyArray<number>;
  }>;
}

const golden = JSON.parse(readFileSync(new URL('../../golden/gptq.json', import.meta.url), 'utf8')) as Golden;
const shape = [golden.weight.length, golden.hessian.length] as const;
const weight = Float32Array.from(golden.weight.flat());
const hessian = Float64Array.from(golden.hessian.flat());
const bytesOf = async (data: unknown): Promise<Int32Array> => {
  const { buffer, byteOffset, byteLength } = (
    typeof data === 'function' ? await (data as () => Uint8Array | Promise<Uint8Array>)() : data
  ) as Uint8Array;
  return new Int32Array(buffer, byteOffset, byteLength / 4);
};

describe.each(golden.cases)('GPTQ in $bits bits, groups of $groupSize, act-order $descAct, symmetric $sym', (one) => {
  const matrix = gptq(weight, shape, hessian, { ...one, dampPercent: 0.01 });

  it('gives the codes, scales and zeros of the published algorithm', () => {
    expect([...matrix.codes]).toEqual(one.codes.flat());
    expect([...matrix.scale]).toEqual(one.scales.flat());
    expect([...matrix.zero]).toEqual(one.zeros.flat());
    expect([...matrix.groupIndex]).toEqual(one.groupIndex);
  });

  it('is packed so that a reader of the format finds the same values', async () => {
    const tensors = new Map(gptqTensors('m', matrix, () => matrix.codes).map((tensor) => [tensor.name, tensor]));
    const words = async (name: string) => await bytesOf(tensors.get(`m.${name}`)?.data);
    const [qweight, qzeros] = [await words('qweight'), await words('qzeros')];
    const perWord = 32 / one.bits;
    const mask = 2 ** one.bits - 1;
    const [rows, columns] = shape;
    const values = gptqValues(matrix);
    for (let o = 0; o < rows; o++)
      for (let i = 0; i < columns; i++) {
        const group = matrix.groupIndex[i] ?? NaN;
        const code = ((qweight[Math.floor(i / perWord) * rows + o] ?? 0) >>> (one.bits * (i % perWord))) & mask;
        const word = qzeros[(group * rows) / perWord + Math.floor(o / perWord)] ?? 0;
        const zero = ((word >>> (one.bits * (o % perWord))) & mask) + 1;
        expect(Math.fround((matrix.scale[group * rows + o] ?? NaN) * (code - zero))).toBe(values[o * columns + i]);
      }
    expect(tensors.get('m.scales')).toMatchObject({ dtype: 'F16', shape: [matrix.scale.length / rows, rows] });
    expect(tensors.get('m.g_idx')).toMatchObject({ dtype: 'I32', shape: [columns] });
  });
});
