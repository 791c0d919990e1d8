import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { describe, expect, it } from '@jest/globals';
import fc from 'fast-check';
import * as E from 'fp-ts/lib/Either.js';
import { elementsOf, gather, isContiguous, spanOf } from '../../src/formats/pickle/strided.js';
import type { View } from '../../src/formats/pickle/strided.js';
import { readTorchFile } from '../../src/formats/pickle/torchFile.js';
import { temporaryDirectory } from '../../test/formats/temporary.js';
import { damages } from '../arbitraries/bytes.js';

const dir = temporaryDirectory();
const golden = resolve(import.meta.dirname, '..', '..', 'test', 'golden', 'torch');
const files = readdirSync(golden)
  .filter((name) => name.endsWith('.bin') && !/^(gpt2|adapter|pytorch)/.test(name))
  .map((name) => readFileSync(join(golden, name)));

/** Typed refusal, or tensors of which each has the bytes that its shape wants and no more than the file. */
const readOrRefused = async (path: string, bytes: Uint8Array): Promise<void> => {
  writeFileSync(path, bytes);
  const result = await readTorchFile(path)();
  if (E.isLeft(result)) {
    expect(result.left.code).toMatch(/^E_PICKLE_/);
    return;
  }
  for (const one of result.right.tensors.values()) {
    expect(one.byteLength).toBeLessThanOrEqual(bytes.length);
    const read = await one.readBytes()();
    expect(E.isRight(read) && read.right.length).toBe(one.byteLength);
  }
};

const views: fc.Arbitrary<View> = fc
  .array(fc.tuple(fc.nat(3), fc.nat(5)), { maxLength: 4 })
  .map((axes) => ({ shape: axes.map(([size]) => size), strides: axes.map(([, stride]) => stride) }));

/** Where each element lies, row-major. */
const placesOf = ({ shape, strides }: View): ReadonlyArray<number> =>
  shape.reduce<ReadonlyArray<number>>(
    (places, size, axis) =>
      places.flatMap((at) => Array.from({ length: size }, (_, i) => at + i * (strides[axis] ?? 0))),
    [0],
  );

describe('laws of files of torch.save', () => {
  it('a damaged one is refused with a type, or read within its bounds', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), damages(), (file, damage) =>
        readOrRefused(join(dir, 'damaged.bin'), damage(file)),
      ),
      { numRuns: 300 },
    );
  });

  it('so is one with bits flipped in its pickle', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.constantFrom(...files),
        fc.array(fc.tuple(fc.nat(1200), fc.nat(7)), { minLength: 1, maxLength: 3 }),
        (file, flips) => {
          const bytes = Uint8Array.from(file);
          for (const [at, bit] of flips) bytes[at % bytes.length] = (bytes[at % bytes.length] ?? 0) ^ (1 << bit);
          return readOrRefused(join(dir, 'flipped.bin'), bytes);
        },
      ),
      { numRuns: 300 },
    );
  });

  it('one cut anywhere is refused', async () => {
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...files), fc.nat(), async (file, where) => {
        const path = join(dir, 'cut.bin');
        writeFileSync(path, file.subarray(0, where % file.length));
        const result = await readTorchFile(path)();
        expect(E.isLeft(result) && result.left.code.startsWith('E_PICKLE_')).toBe(true);
      }),
      { numRuns: 100 },
    );
  });

  it('a view has the elements that its strides lead to, whatever their width', () => {
    fc.assert(
      fc.property(views, fc.constantFrom<1 | 2 | 4 | 8>(1, 2, 4, 8), (view, width) => {
        const places = placesOf(view);
        const span = spanOf(view);
        expect(elementsOf(view)).toBe(places.length);
        expect(span).toBe(places.length === 0 ? 0 : Math.max(...places) + 1);
        expect(isContiguous(view) && !view.shape.includes(0) && places.some((place, i) => place !== i)).toBe(false);
        const bytes = Uint8Array.from({ length: span * width }, (_, i) => (i * 37) % 251);
        const out = new Uint8Array(places.length * width);
        gather(view, width, bytes, out);
        expect(Array.from(out)).toEqual(
          places.flatMap((place) => Array.from(bytes.subarray(place * width, (place + 1) * width))),
        );
      }),
    );
  });
});
