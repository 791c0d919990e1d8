/** Laws of GPTQ's files and of how its matrices are held: nothing is lost on the way. */
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as TE from 'fp-ts/lib/TaskEither.js';
import { orThrow } from '../../../src/errors.js';
import { float16ToFloat32, float32ToFloat16 } from '../../../src/formats/tensors/float16.js';
import { readSafetensors, writeSafetensors } from '../../../src/formats/tensors/safetensors.js';
import { valuesOfLayout } from '../../../src/model/kernels/quantizedMatrix.js';
import { gptqCodes, gptqLayout, gptqValues } from '../../../src/model/quantize/gptq.js';
import type { GptqMatrix } from '../../../src/model/quantize/gptq.js';
import type { GptqFormat } from '../../../src/model/quantize/gptqConfig.js';
import { gptqTensors, storedGptq } from '../../../src/model/quantize/gptqFiles.js';
import { temporaryDirectory } from '../../../test/formats/temporary.js';
import { random } from '../../../src/seed.js';

const dir = temporaryDirectory();

interface Case {
  readonly matrix: GptqMatrix;
  readonly groupSize: number;
  readonly format: GptqFormat;
}

const cases: fc.Arbitrary<Case> = fc
  .record({
    bits: fc.constantFrom(4 as const, 8 as const),
    rowWords: fc.integer({ min: 1, max: 3 }),
    columnWords: fc.integer({ min: 1, max: 4 }),
    groupSize: fc.constantFrom(-1, 2, 3, 4, 8, 16),
    sym: fc.boolean(),
    descAct: fc.boolean(),
    format: fc.constantFrom<GptqFormat>('gptq', 'gptq_v2'),
    seed: fc.nat(1 << 20),
  })
  .map(({ bits, rowWords, columnWords, groupSize, sym, descAct, format, seed }) => {
    const draw = random(seed, 'init');
    const perWord = 32 / bits;
    const [rows, n] = [rowWords * perWord, columnWords * perWord];
    const size = groupSize === -1 ? n : groupSize;
    const groups = Math.ceil(n / size);
    const least = format === 'gptq' ? 1 : 0;
    const groupIndex = Int32Array.from({ length: n }, (_, i) => Math.floor(i / size));
    if (descAct) for (let i = 0; i < n; i++) groupIndex[i] = draw.below(groups);
    const scales = Float32Array.from({ length: groups * rows }, () => (1 + draw.below(1000)) / 4096);
    return {
      groupSize,
      format,
      matrix: {
        kind: 'gptq' as const,
        shape: [rows, n] as const,
        bits,
        codes: Uint8Array.from({ length: rows * n }, () => draw.below(2 ** bits)),
        scale: float16ToFloat32(float32ToFloat16(scales)),
        zero: Uint16Array.from({ length: groups * rows }, () =>
          sym ? 2 ** (bits - 1) : least + draw.below(2 ** bits),
        ),
        groupIndex,
      },
    };
  });

const plain = (matrix: GptqMatrix) => ({
  ...matrix,
  codes: Array.from(matrix.codes),
  scale: Array.from(matrix.scale),
  zero: Array.from(matrix.zero),
  groupIndex: Array.from(matrix.groupIndex),
});

describe('a GPTQ matrix', () => {
  it('is read from its file as it was written, g_idx or not', async () => {
    const file = join(dir, 'gptq.safetensors');
    await fc.assert(
      fc.asyncProperty(cases, fc.boolean(), async ({ matrix, groupSize, format }, withIndex) => {
        const { bits, groupIndex, shape } = matrix;
        const size = groupSize === -1 ? shape[1] : groupSize;
        const inOrder = groupIndex.every((group, i) => group === Math.floor(i / size));
        const parts = gptqTensors('a.b', matrix, () => matrix.codes, format);
        const written = parts.filter(({ name }) => withIndex || !inOrder || !name.endsWith('g_idx'));
        await orThrow(
          writeSafetensors(file, [
            ...written,
            { name: 'a.b.bias', dtype: 'F32', shape: [1], data: Float32Array.of(3) },
          ]),
        );
        const { tensors } = await orThrow(readSafetensors(file));
        const options = { bits, groupSize, format, descAct: false, sym: true, dampPercent: 0.01 };
        const { quantized, plain: others } = await orThrow(TE.fromEither(storedGptq(tensors, options)));
        expect([...others.keys()]).toEqual(['a.b.bias']);
        expect([...quantized.keys()]).toEqual(['a.b.weight']);
        const found = quantized.get('a.b.weight');
        expect(found?.shape).toEqual(shape);
        const again = found === undefined ? undefined : await orThrow(found.read());
        expect(again?.kind === 'gptq' ? plain(again) : again).toEqual(plain(matrix));
      }),
      { numRuns: 60 },
    );
  });

  it('has codes that its values tell', () => {
    fc.assert(
      fc.property(cases, ({ matrix }) => {
        expect(Array.from(gptqCodes(gptqValues(matrix), matrix))).toEqual(Array.from(matrix.codes));
      }),
    );
  });

  it('is held packed without a change of any value, where groups are runs and zero is in the middle', () => {
    let held = 0;
    fc.assert(
      fc.property(cases, ({ matrix }) => {
        const layout = gptqLayout(matrix);
        if (layout === undefined) return;
        held++;
        expect(layout.codes.length).toBe((matrix.codes.length * matrix.bits) / 8);
        expect(Array.from(valuesOfLayout(layout))).toEqual(Array.from(gptqValues(matrix), (x) => x + 0));
      }),
      { numRuns: 300 },
    );
    expect(held).toBeGreaterThan(20);
  });
});
