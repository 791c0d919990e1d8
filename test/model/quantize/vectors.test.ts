import { readFileSync } from 'node:fs';
import { describe, expect, it } from '@jest/globals';
import { int8ActivationsOf } from '../../../src/model/kernels/int8Activations.js';
import { dequantizeFourBit, fourBitCodes, quantizeFourBit } from '../../../src/model/quantize/fourBit.js';
import type { FourBitKind } from '../../../src/model/quantize/fourBit.js';
import { dequantizeInt8, quantizeInt8 } from '../../../src/model/quantize/int8.js';
import { dynamicMap } from '../../../src/model/quantize/dynamicMap.js';
import { nestScales, unnestScales } from '../../../src/model/quantize/nested.js';

interface Golden {
  readonly dynamicMap: ReadonlyArray<number>;
  readonly fourBit: ReadonlyArray<{
    readonly kind: FourBitKind;
    readonly values: ReadonlyArray<number>;
    readonly bytes: ReadonlyArray<number>;
    readonly absmax: ReadonlyArray<number>;
  }>;
  readonly int8: {
    readonly values: ReadonlyArray<ReadonlyArray<number>>;
    readonly codes: ReadonlyArray<ReadonlyArray<number>>;
    readonly scale: ReadonlyArray<number>;
  };
  readonly nested: {
    readonly scales: ReadonlyArray<number>;
    readonly codes: ReadonlyArray<number>;
    readonly absmax: ReadonlyArray<number>;
    readonly offset: number;
  };
}

const golden = JSON.parse(readFileSync(new URL('../../golden/quantized.json', import.meta.url), 'utf8')) as Golden;

const close = (got: Iterable<number>, expected: ReadonlyArray<number>, digits: number): void => {
  const numbers = [...got];
  expect(numbers).toHaveLength(expected.length);
  numbers.forEach((x, i) => expect(x).toBeCloseTo(expected[i] ?? NaN, digits));
};

describe("bitsandbytes' worked examples", () => {
  it('NF4: codes two a byte, the first in the high half', () => {
    const quantized = quantizeFourBit(Float32Array.of(2, -1, 0.2, 0, -2, 0.9, -0.3, 1.5), 'nf4');
    expect([...quantized.codes]).toEqual([0xf2, 0x87, 0x0c, 0x5e]);
    expect([...quantized.absmax]).toEqual([2]);
    close(dequantizeFourBit(quantized), [2, -1.050146, 0.159161, 0, -2, 0.88142, -0.369547, 1.445914], 6);
  });

  it('LLM.int8: rows by their largest magnitude, halves to even', () => {
    const q = quantizeInt8(Float32Array.of(0.5, -1, 0.25, 3, 0, -6), [2, 3]);
    expect([...q.codes]).toEqual([64, -127, 32, 64, 0, -127]);
    expect([...q.scale]).toEqual([1, 6]);
  });

  it('LLM.int8: outlier columns stay out of the rounding', () => {
    const w = dequantizeInt8(quantizeInt8(Float32Array.of(0.5, -1, 0.25, 3, 0, -6), [2, 3]));
    const x = int8ActivationsOf(Float32Array.of(1, 2, 7, -0.5, 0.25, 0.1), [2, 3], { threshold: 6 });
    const product = [0, 1].flatMap((i) =>
      [0, 1].map((o) => [0, 1, 2].reduce((sum, c) => sum + (x[i * 3 + c] ?? NaN) * (w[o * 3 + c] ?? NaN), 0)),
    );
    // 0.1 is not a half-precision number: the last product is off by 6 times its rounding.
    close(product, [0.271685, -38.952568, -0.47874, -2.111811], 3);
  });

  it('the dynamic map has its 0 at 127', () => {
    expect(dynamicMap[127]).toBe(0);
    expect(dynamicMap[0]).toBeCloseTo(-0.99296874, 7);
    expect([...dynamicMap]).toEqual(golden.dynamicMap.map(Math.fround));
  });
});

describe('recorded vectors', () => {
  it.each(golden.fourBit.map((one) => [`${one.kind} of ${one.values.length}`, one] as const))('%s', (_, one) => {
    const { codes, absmax } = quantizeFourBit(Float32Array.from(one.values), one.kind);
    expect([...codes]).toEqual(one.bytes);
    expect([...absmax]).toEqual(one.absmax.map(Math.fround));
  });

  it('int8 rows', () => {
    const { values, codes, scale } = golden.int8;
    const q = quantizeInt8(Float32Array.from(values.flat()), [values.length, values[0]?.length ?? 0]);
    expect([...q.codes]).toEqual(codes.flat());
    expect([...q.scale]).toEqual(scale.map(Math.fround));
  });

  it('double quantisation', () => {
    const { scales, codes, absmax, offset } = golden.nested;
    const nested = nestScales(Float32Array.from(scales));
    expect(nested.offset).toBeCloseTo(offset, 6);
    close(nested.absmax, absmax, 6);
    const apart = [...nested.codes].filter((code, i) => code !== codes[i]);
    // The mean's last bit decides a code that lies on a border.
    expect(apart.length).toBeLessThanOrEqual(2);
    const back = unnestScales(nested);
    back.forEach((x, i) => expect(Math.abs(x - (scales[i] ?? NaN))).toBeLessThan(0.02));
  });
});

describe('odd inputs', () => {
  it.each(['nf4', 'fp4'] as const)('a block of zeros of %s gives zeros back', (kind) => {
    const values = new Float32Array(130);
    values[70] = 3;
    const back = dequantizeFourBit(quantizeFourBit(values, kind));
    expect([...back].map((x) => x + 0)).toEqual([...values]);
  });

  it('an odd number of values fills its last byte up', () => {
    const { codes } = quantizeFourBit(Float32Array.of(1, -1, 1), 'nf4');
    expect([...codes]).toEqual([0xf0, 0xf0]);
    expect(quantizeFourBit(new Float32Array(0), 'nf4').codes).toHaveLength(0);
  });

  it('FP4 keeps the sign of what rounds to nothing', () => {
    const { codes } = quantizeFourBit(Float32Array.of(-0.0001, 1), 'fp4');
    expect([...codes]).toEqual([0x83]);
    expect(fourBitCodes.fp4[8]).toBe(-0);
  });
});
