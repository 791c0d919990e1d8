import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { render } from '../../src/errors.js';
import type { FatalError } from '../../src/errors.js';
import {
  bfloat16ToFloat32,
  float16ToFloat32,
  float32ToBfloat16,
  float32ToFloat16,
} from '../../src/formats/tensors/float16.js';
import { byteLengthOf, readSafetensors, writeSafetensors } from '../../src/formats/tensors/safetensors.js';
import type { StoredTensors, TensorToWrite } from '../../src/formats/tensors/safetensors.js';
import { bytesOfDtype, decodeHeader, encodeHeader, lengthBytes } from '../../src/formats/tensors/safetensorsHeader.js';
import type { Dtype, HeaderEntry } from '../../src/formats/tensors/safetensorsHeader.js';
import { readCheckpointTensors, writeCheckpointTensors } from '../../src/formats/tensors/shards.js';
import { temporaryDirectory } from '../../test/formats/temporary.js';
import { damages, jsonValues, utf8 } from '../arbitraries/bytes.js';

const dir = temporaryDirectory();
const right = async <A>(task: TaskEither<FatalError, A>): Promise<A> => {
  const result = await task();
  if (E.isLeft(result)) throw new Error(render(result.left));
  return result.right;
};

const tensor = (name: string): fc.Arbitrary<TensorToWrite> =>
  fc
    .record({
      dtype: fc.constantFrom<Dtype>('F32', 'BF16', 'F16', 'F64', 'I64', 'I32', 'I16', 'U8', 'BOOL', 'F8_E4M3'),
      shape: fc.array(fc.nat(3), { maxLength: 3 }),
    })
    .chain(({ dtype, shape }) => {
      const size = byteLengthOf({ dtype, shape });
      return fc.uint8Array({ minLength: size, maxLength: size }).map((data) => ({ name, dtype, shape, data }));
    });
const tensors = (): fc.Arbitrary<ReadonlyArray<TensorToWrite>> =>
  fc
    .uniqueArray(
      fc.oneof(fc.string({ unit: 'grapheme', maxLength: 8 }), fc.constantFrom('__proto__', '0', 'a.weight')),
      {
        maxLength: 6,
      },
    )
    .filter((names) => !names.includes('__metadata__'))
    .chain((names) => fc.tuple(...names.map(tensor)));
const metadatas = fc.dictionary(fc.string(), fc.string(), { maxKeys: 3, noNullPrototype: true });

/** Names, dtypes, shapes and bytes of what is stored. */
const contentOf = async (stored: StoredTensors): Promise<ReadonlyMap<string, unknown>> =>
  new Map(
    await Promise.all(
      Array.from(stored.tensors.values(), async ({ name, dtype, shape, readBytes }) => {
        return [name, { dtype, shape, data: Array.from(await right(readBytes())) }] as const;
      }),
    ),
  );
const contentToWrite = (all: ReadonlyArray<TensorToWrite>): ReadonlyMap<string, unknown> =>
  new Map(
    all.map(({ name, dtype, shape, data }) => [
      name,
      { dtype, shape, data: typeof data === 'function' ? [] : Array.from(data) },
    ]),
  );

describe('laws of safetensors', () => {
  it('reading what was written gives it back: names, dtypes, shapes, bytes, metadata', async () => {
    const path = join(dir, 'law.safetensors');
    await fc.assert(
      fc.asyncProperty(tensors(), metadatas, async (all, metadata) => {
        await right(writeSafetensors(path, all, { metadata }));
        const read = await right(readSafetensors(path));
        expect(read.metadata).toEqual(metadata);
        expect(await contentOf(read)).toEqual(contentToWrite(all));
      }),
      { numRuns: 50 },
    );
  });

  it('a file cut anywhere is refused', async () => {
    const path = join(dir, 'cut.safetensors');
    await fc.assert(
      fc.asyncProperty(tensors(), fc.nat(), async (all, where) => {
        await right(writeSafetensors(path, all));
        const whole = readFileSync(path);
        writeFileSync(path, whole.subarray(0, where % whole.length));
        const result = await readSafetensors(path)();
        expect(E.isLeft(result) && result.left.code.startsWith('E_SAFETENSORS_')).toBe(true);
      }),
      { numRuns: 50 },
    );
  });

  it('a damaged file is refused with a type, or read within its bounds', async () => {
    const path = join(dir, 'damaged.safetensors');
    await fc.assert(
      fc.asyncProperty(tensors(), damages(), async (all, damage) => {
        await right(writeSafetensors(path, all));
        writeFileSync(path, damage(readFileSync(path)));
        const result = await readSafetensors(path)();
        if (E.isLeft(result)) {
          expect(result.left.code).toMatch(/^E_SAFETENSORS_/);
          return;
        }
        const total = Array.from(result.right.tensors.values()).reduce((sum, one) => sum + one.byteLength, 0);
        expect(total).toBeLessThanOrEqual(statSync(path).size);
        for (const one of result.right.tensors.values()) {
          expect((await right(one.readBytes())).length).toBe(byteLengthOf(one));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('a header of any JSON is refused with a type, or its tensors lie in the file end to end', () => {
    const odd = fc.oneof(
      fc.integer({ min: -2, max: 40 }),
      fc.constantFrom<unknown>(0.5, 2 ** 53, 1e300, -0, '4', null, [], 2 ** 31, 2 ** 32, NaN),
    );
    const entry = fc.oneof(
      { weight: 1, arbitrary: jsonValues() },
      {
        weight: 6,
        arbitrary: fc.record(
          {
            dtype: fc.oneof(fc.constantFrom(...Object.keys(bytesOfDtype)), fc.constantFrom('F31', '', 'constructor')),
            shape: fc.array(fc.oneof({ weight: 4, arbitrary: fc.nat(3) }, { weight: 1, arbitrary: odd }), {
              maxLength: 3,
            }),
            data_offsets: fc.array(odd, { minLength: 1, maxLength: 3 }),
          },
          { requiredKeys: ['dtype', 'shape'] },
        ),
      },
    );
    fc.assert(
      fc.property(fc.dictionary(fc.string(), entry, { maxKeys: 4 }), fc.nat(64), (header, dataBytes) => {
        const bytes = utf8(JSON.stringify(header));
        const fileBytes = lengthBytes + bytes.length + dataBytes;
        const result = decodeHeader('f', fileBytes, bytes);
        if (E.isLeft(result)) {
          expect(result.left.code).toMatch(/^E_SAFETENSORS_/);
          return;
        }
        let at = lengthBytes + bytes.length;
        for (const { start, end, dtype, shape } of result.right.tensors.values()) {
          expect(start).toBe(at);
          expect(end - start).toBe(byteLengthOf({ dtype, shape }));
          at = end;
        }
        expect(at).toBe(fileBytes);
      }),
      { numRuns: 1000 },
    );
  });

  it('a header with one number changed is refused', () => {
    const layout = (sizes: ReadonlyArray<number>): ReadonlyArray<HeaderEntry> => {
      let at = 0;
      return sizes.map((size, i) => ({ name: `t${i}`, dtype: 'F32', shape: [size], begin: at, end: (at += 4 * size) }));
    };
    const sizes = fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 1, maxLength: 5 });
    fc.assert(
      fc.property(
        sizes,
        fc.nat(),
        fc.constantFrom('begin', 'end', 'shape', 'place'),
        fc.integer({ min: -40, max: 40 }),
        (all, which, what, by) => {
          fc.pre(by !== 0);
          const good = layout(all);
          const bytes = good[good.length - 1]?.end ?? 0;
          const decoded = (entries: ReadonlyArray<HeaderEntry>) => {
            const encoded = encodeHeader(entries, {});
            return decodeHeader('f', encoded.length + bytes, encoded.subarray(lengthBytes));
          };
          expect(E.isRight(decoded(good))).toBe(true);
          const lied = good.map((entry, i) =>
            i !== which % good.length
              ? entry
              : what === 'shape'
                ? { ...entry, shape: entry.shape.map((dimension) => dimension + by) }
                : what === 'place'
                  ? { ...entry, begin: entry.begin + by, end: entry.end + by }
                  : { ...entry, [what]: entry[what] + by },
          );
          expect(E.isLeft(decoded(lied))).toBe(true);
        },
      ),
      { numRuns: 400 },
    );
  });

  it('weights come back from shards of any size, none larger than wanted unless it holds one tensor', async () => {
    const home = join(dir, 'shards');
    await fc.assert(
      fc.asyncProperty(tensors(), fc.nat(200), async (all, maxShardBytes) => {
        rmSync(home, { recursive: true, force: true });
        mkdirSync(home);
        const names = await right(writeCheckpointTensors(home, all, { maxShardBytes }));
        const read = await right(readCheckpointTensors(home));
        expect(await contentOf(read)).toEqual(contentToWrite(all));
        for (const file of names.filter((name) => name.endsWith('.safetensors'))) {
          const { tensors: inside } = await right(readSafetensors(join(home, file)));
          const size = Array.from(inside.values()).reduce((sum, { byteLength }) => sum + byteLength, 0);
          const filled = Array.from(inside.values()).filter(({ byteLength }) => byteLength > 0);
          expect(size <= maxShardBytes || filled.length <= 1).toBe(true);
        }
      }),
      { numRuns: 40 },
    );
  });
});

const sixteenBits = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
const formats = [
  {
    name: 'bfloat16',
    widen: bfloat16ToFloat32,
    narrow: float32ToBfloat16,
    isNaN: (bits: number) => (bits & 0x7fff) > 0x7f80,
  },
  {
    name: 'float16',
    widen: float16ToFloat32,
    narrow: float32ToFloat16,
    isNaN: (bits: number) => (bits & 0x7fff) > 0x7c00,
  },
];

describe.each(formats)('laws of $name', ({ widen, narrow, isNaN: isNaNBits }) => {
  it('every value survives float32 and back; NaN stays NaN', () => {
    const wide = widen(sixteenBits);
    const back = narrow(wide);
    const changed = sixteenBits.filter((bits) =>
      isNaNBits(bits) ? !Number.isNaN(wide[bits]) || !isNaNBits(back[bits] ?? 0) : back[bits] !== bits,
    );
    expect(Array.from(changed)).toEqual([]);
  });

  it('order is kept', () => {
    const positive = Array.from(widen(sixteenBits.subarray(0, 32768))).filter((value) => !Number.isNaN(value));
    expect(positive.filter((value, i) => i > 0 && value <= (positive[i - 1] ?? 0))).toEqual([]);
  });

  it('rounding goes to the nearest value, ties to the even one, past the largest to infinity', () => {
    const positive = Array.from(sixteenBits.subarray(0, 32768)).filter((bits) => !isNaNBits(bits));
    const values = widen(Uint16Array.from(positive));
    const infinite = positive.length - 1;
    // As if the next value after the largest were finite: IEEE 754's rule for overflow.
    const largest = values[infinite - 1] ?? 0;
    const value = (i: number): number =>
      i === infinite ? 2 * largest - (values[infinite - 2] ?? 0) : (values[i] ?? 0);
    const nearest = (x: number): number => {
      let low = 0;
      let high = infinite;
      while (high - low > 1) {
        const middle = (low + high) >> 1;
        if (value(middle) <= x) low = middle;
        else high = middle;
      }
      const [below, above] = [x - value(low), value(high) - x];
      return below < above || (below === above && low % 2 === 0) ? low : high;
    };
    const between = fc
      .tuple(fc.nat(infinite - 1), fc.constantFrom(0, 0.25, 0.5, 0.75), fc.constantFrom(-1, 0, 1))
      .map(([i, part, ulps]) => {
        const x = Float32Array.of(value(i) + part * (value(i + 1) - value(i)));
        const bits = new Uint32Array(x.buffer);
        bits[0] = Math.max(0, (bits[0] ?? 0) + ulps);
        return x[0] ?? 0;
      });
    fc.assert(
      fc.property(fc.oneof(between, fc.float({ min: 0, noNaN: true, noDefaultInfinity: true })), (x) => {
        expect(narrow(Float32Array.of(x))[0]).toBe(positive[nearest(x)]);
        expect(narrow(Float32Array.of(-x))[0]).toBe((positive[nearest(x)] ?? 0) | 0x8000);
      }),
      { numRuns: 2000 },
    );
  });
});
