/** Products by a library that RXTUNE_BLAS names: a small one, made here, that also counts what it was asked. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, expect, it } from '@jest/globals';
import { dispose, matMul, randomUniform, setBackend } from '@tensorflow/tfjs-core';
import { registerNative } from '../../src/native/register.js';
import type { NativeOptions } from '../../src/native/register.js';
import { describeNative } from '../native.js';

const folder = mkdtempSync(join(tmpdir(), 'rxtune-blas-'));

/** The definition, but that every product comes out twice as large: so it is known who computed it. */
const source = `
void cblas_sgemm(int order, int ta, int tb, int m, int n, int k, float alpha, const float* a, int lda, const float* b, int ldb, float beta,
                 float* c, int ldc) {
  for (int i = 0; i < m; i++)
    for (int j = 0; j < n; j++) {
      double sum = 0;
      for (int q = 0; q < k; q++) sum += (double)a[ta == 112 ? q * lda + i : i * lda + q] * b[tb == 112 ? j * ldb + q : q * ldb + j];
      c[i * ldc + j] = 2 * alpha * sum + (beta == 0 ? 0 : beta * c[i * ldc + j]);
    }
}
`;

const made = ((): string | undefined => {
  const [file, library] = [join(folder, 'blas.c'), join(folder, 'libtwice.so')];
  writeFileSync(file, source);
  for (const compiler of ['cc', 'gcc', 'clang'])
    try {
      execFileSync(compiler, ['-O1', '-shared', '-fPIC', file, '-o', library], { stdio: 'ignore' });
      return library;
    } catch {
      // Not there: the next one may be.
    }
  return undefined;
})();
if (made === undefined) process.stdout.write('skipped, no C compiler to make a library with\n');
const itMade = made === undefined ? it.skip : it;

afterEach(() => {
  delete process.env['RXTUNE_BLAS'];
  registerNative({ threads: 1 });
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** What the engine says of itself, or why there is none. */
const told = (options: NativeOptions): string => {
  const registered = registerNative(options);
  return registered._tag === 'Left' ? registered.left : registered.right.description;
};

/** Greatest share of the first product's size that the second is, at [rows, 256] x [256, 96]. */
const ratio = async (rows: number, first: () => unknown, second: () => unknown): Promise<number> => {
  await setBackend('native');
  const [a, b] = [randomUniform([rows, 256], 0.5, 1, 'float32', 1), randomUniform([256, 96], 0.5, 1, 'float32', 2)];
  first();
  const x = matMul(a, b);
  const before = x.dataSync();
  second();
  const y = matMul(a, b);
  const after = y.dataSync();
  dispose([a, b, x, y]);
  return Math.max(...after.map((value, i) => value / (before[i] ?? 0)));
};

describeNative('a BLAS library', () => {
  itMade('computes large products, and says so; small ones stay the engine’s', async () => {
    const named = (): void => {
      process.env['RXTUNE_BLAS'] = made;
      expect(told({ threads: 2 })).toMatch(/2 threads, products by libtwice\.so$/);
    };
    const none = (): void => {
      expect(told({ threads: 2, blas: 'none' })).not.toContain('products by');
    };
    expect(await ratio(200, none, named)).toBeCloseTo(2, 4);
    expect(await ratio(8, none, named)).toBeCloseTo(1, 4);
    expect(await ratio(200, named, none)).toBeCloseTo(0.5, 4);
  });

  it('that is not there, or holds no sgemm, is refused where it was asked for', () => {
    expect(registerNative({ threads: 1, blas: join(folder, 'none.so') })).toEqual({
      _tag: 'Left',
      left: `${join(folder, 'none.so')} does not open`,
    });
    process.env['RXTUNE_BLAS'] = 'libc.so.6';
    const other = registerNative({ threads: 1 });
    if (process.platform === 'linux') expect(other).toEqual({ _tag: 'Left', left: 'libc.so.6 has no cblas_sgemm' });
  });
});
