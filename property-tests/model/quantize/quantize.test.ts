/** Laws of quantisation: errors are bounded, codes are found again from values, and what was quantised stays as it is. */
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { QuantizationConfig } from '../../../src/model/quantize/config.js';
import { dequantizeFourBit, fourBitCodes, quantizeFourBit } from '../../../src/model/quantize/fourBit.js';
import { dequantizeInt8, quantizeInt8 } from '../../../src/model/quantize/int8.js';
import { dequantizeMatrix, layoutOf, matrixOf, quantizeMatrix, scalesOf } from '../../../src/model/quantize/matrix.js';
import { turned } from '../../../src/model/turned.js';
import { nestScales, unnestScales } from '../../../src/model/quantize/nested.js';

/** No denormal numbers: a scale that is one has too few digits to be divided by. */
const float = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.float({ min: -8, max: 8, noNaN: true }).map((x) => (Math.abs(x) < 1e-20 ? 0 : x)),
  },
  { weight: 1, arbitrary: fc.constantFrom(0, -0, 1, -1, 1e-30, 3e4) },
);
const floats = fc.array(float, { maxLength: 300 }).map((values) => Float32Array.from(values));
const kinds = fc.constantFrom('nf4' as const, 'fp4' as const);
const blockSizes = fc.constantFrom(64, 8, 7);

const matrices = fc.tuple(fc.integer({ min: 1, max: 9 }), fc.integer({ min: 1, max: 40 })).chain(([rows, columns]) =>
  fc.record({
    shape: fc.constant([rows, columns] as const),
    values: fc
      .array(float, { minLength: rows * columns, maxLength: rows * columns })
      .map((values) => Float32Array.from(values)),
  }),
);

const configs = fc
  .constantFrom(
    { loadIn8bit: true },
    { loadIn4bit: true },
    { loadIn4bit: true, bnb4bitQuantType: 'nf4' },
    { loadIn4bit: true, bnb4bitQuantType: 'nf4', bnb4bitUseDoubleQuant: true },
    { loadIn4bit: true, bnb4bitUseDoubleQuant: true },
  )
  .map((options) => {
    const decoded = QuantizationConfig.decode(options);
    if (E.isLeft(decoded)) throw decoded.left;
    return decoded.right;
  });

/** Values as numbers: 0 and -0 are one. */
const plain = (values: Float32Array): ReadonlyArray<number> => Array.from(values, (x) => x + 0);

/** Half of the widest gap between neighbouring codes. */
const halfGap = (kind: 'nf4' | 'fp4'): number => {
  const sorted = [...fourBitCodes[kind]].sort((a, b) => a - b);
  return Math.max(...sorted.slice(1).map((x, i) => x - (sorted[i] ?? 0))) / 2;
};

describe('4 bits', () => {
  it('miss no value by more than half of the widest gap between codes', () => {
    fc.assert(
      fc.property(kinds, floats, blockSizes, (kind, values, blockSize) => {
        const quantized = quantizeFourBit(values, kind, blockSize);
        const back = dequantizeFourBit(quantized);
        back.forEach((x, i) => {
          const top = quantized.absmax[Math.floor(i / blockSize)] ?? NaN;
          expect(Math.abs(x - (values[i] ?? NaN))).toBeLessThanOrEqual(halfGap(kind) * top * 1.00001 + 1e-37);
        });
      }),
    );
  });

  it('take the code that is nearest', () => {
    fc.assert(
      fc.property(kinds, floats, (kind, values) => {
        const quantized = quantizeFourBit(values, kind);
        const back = dequantizeFourBit(quantized);
        back.forEach((x, i) => {
          const top = quantized.absmax[Math.floor(i / 64)] ?? NaN;
          const value = values[i] ?? NaN;
          const best = Math.min(...Array.from(fourBitCodes[kind], (code) => Math.abs(code * top - value)));
          expect(Math.abs(x - value)).toBeLessThanOrEqual(best + 1e-6 * top);
        });
      }),
    );
  });
});

describe('8 bits', () => {
  it('miss no value by more than half a step of its row', () => {
    fc.assert(
      fc.property(matrices, ({ values, shape }) => {
        const quantized = quantizeInt8(values, shape);
        dequantizeInt8(quantized).forEach((x, i) => {
          const top = quantized.scale[Math.floor(i / shape[1])] ?? NaN;
          expect(Math.abs(x - (values[i] ?? NaN))).toBeLessThanOrEqual((top / 254) * 1.00001);
        });
      }),
    );
  });
});

describe('a quantised matrix', () => {
  it('is found again from its scales and the values it stands for', () => {
    fc.assert(
      fc.property(configs, matrices, (config, { values, shape }) => {
        const matrix = quantizeMatrix(config, values, shape);
        const read = dequantizeMatrix(matrix);
        const again = matrixOf(scalesOf(matrix), read);
        expect(plain(dequantizeMatrix(again))).toEqual(plain(read));
        // Where a nested scale comes out as 0, all codes stand for the same.
        const scale = layoutOf(matrix)?.scale;
        if (!config.bnb4bitUseDoubleQuant || scale?.every((x) => x !== 0) === true)
          expect(again.codes).toEqual(matrix.codes);
      }),
    );
  });

  it('stays as it is when it is quantised again', () => {
    fc.assert(
      fc.property(configs, matrices, (config, { values, shape }) => {
        fc.pre(!config.bnb4bitUseDoubleQuant);
        const once = dequantizeMatrix(quantizeMatrix(config, values, shape));
        expect(plain(dequantizeMatrix(quantizeMatrix(config, once, shape)))).toEqual(plain(once));
      }),
    );
  });

  it('turned twice is the same', () => {
    fc.assert(
      fc.property(matrices, ({ values, shape: [rows, columns] }) => {
        expect(turned(turned(values, [rows, columns]), [columns, rows])).toEqual(values);
      }),
    );
  });
});

describe('nested scales', () => {
  it('miss no scale by more than a hundredth of the largest distance from the mean in its block', () => {
    fc.assert(
      fc.property(fc.array(fc.float({ min: 0, max: 9, noNaN: true }), { maxLength: 600 }), (list) => {
        const scales = Float32Array.from(list);
        const nested = nestScales(scales);
        unnestScales(nested).forEach((x, i) => {
          const top = nested.absmax[Math.floor(i / 256)] ?? NaN;
          expect(Math.abs(x - (scales[i] ?? NaN))).toBeLessThanOrEqual(0.008 * top + 1e-5);
        });
      }),
    );
  });
});
