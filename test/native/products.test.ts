/** native/cuda/products.mjs: registers of warpgroup products that machine code does not leave alone. */
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { afterAll, expect, it } from '@jest/globals';

const program = resolve(import.meta.dirname, '..', '..', 'native', 'cuda', 'products.mjs');
const folder = mkdtempSync(join(tmpdir(), 'rxtune-products-'));
afterAll(() => rmSync(folder, { recursive: true, force: true }));

/** What is said of a kernel; lines as nvdisasm lists them, labels begin with a dot. */
const said = (...lines: ReadonlyArray<string>): string => {
  const text = lines
    .map((line, i) =>
      line.startsWith('.') ? `${line}:` : `        /*${(16 * i).toString(16).padStart(4, '0')}*/    ${line} ;`,
    )
    .join('\n');
  const file = join(folder, 'kernel.sass');
  writeFileSync(file, `\t.section\t.text.kernel,"ax",@progbits\n.text.kernel:\n${text}\n`);
  const { stdout, status } = spawnSync(process.execPath, [program, file], { encoding: 'utf8' });
  expect(status).toBe(stdout.includes(' 0 faults') ? 0 : 1);
  return stdout;
};

const scores = [
  'WARPGROUP.ARRIVE',
  'HGMMA.64x64x16.F32.BF16 R24, gdesc[UR8], RZ, !UPT',
  'HGMMA.64x64x16.F32.BF16 R24, gdesc[UR12], R24, gsb0',
];
const rounded = ['F2FP.BF16.F32.PACK_AB R56, R25, R24', 'F2FP.BF16.F32.PACK_AB R57, R27, R26', 'CS2R R58, SRZ'];
const sum = ['WARPGROUP.ARRIVE', 'HGMMA.64x64x16.F32.BF16 R88, R56, gdesc[UR8].tnspB, R88, gsb0'];
const wait = (rest: number): string => `WARPGROUP.DEPBAR.LE gsb0, 0x${rest}`;
const loop = (...lines: ReadonlyArray<string>): ReadonlyArray<string> => [
  '.L_x_1',
  ...lines,
  '@!P0 BRA `(.L_x_1)',
  wait(0),
  'EXIT',
];

it('finds nothing where each product is waited for', () => {
  expect(said(...loop(...scores, wait(0), ...rounded, ...sum, wait(0)))).toContain('3 products, 0 faults');
  // The sum of the turn before may run on while scores are made, the operand of the next is written after it is done.
  expect(said(...loop(...scores, wait(0), ...rounded, ...sum))).toContain('0 faults');
});

it.each([
  ['sums are read', [...scores, 'FMUL R3, R24, R4', wait(0)], /FMUL R3, R24, R4: reads R24, .* adds to/],
  [
    'sums are read of the last of two groups',
    [...scores, ...sum, wait(1), 'FMUL R3, R88, R4'],
    /FMUL R3, R88, R4: reads R88/,
  ],
  ['sums are written', [...scores, 'MOV R40, RZ', wait(0)], /MOV R40, RZ: writes R40/],
  [
    'an operand is written',
    [...sum, 'LDS.128 R52, [R2]', 'LDG.E.64 R58, desc[UR8][R2.64]', wait(0)],
    /LDG.E.64 .*: writes R58, .* reads/,
  ],
  ['an operand is written by a load of a matrix', [...sum, 'LDSM.16.M88.4 R54, [R2]', wait(0)], /LDSM.* writes R56/],
  ['a predicated instruction writes', [...sum, '@P1 FADD R57, R3, R4', wait(0)], /FADD .* writes R57/],
  [
    'another product takes sums for its operand',
    [...scores, 'HGMMA.64x64x16.F32.BF16 R88, R24, gdesc[UR8], R88, gsb0', wait(0)],
    /reads R24/,
  ],
  [
    'another product adds to some of its sums',
    [...scores, 'HGMMA.64x64x16.F32.BF16 R40, gdesc[UR8], R40, gsb0', wait(0)],
    /writes R40/,
  ],
  ['a group is never ended', ['WARPGROUP.ARRIVE', scores[1] ?? '', wait(0), 'FMUL R3, R24, R4'], /reads R24/],
])('finds that %s while a product runs', (_, lines, expected) => {
  expect(said(...lines, 'EXIT')).toMatch(expected);
});

it('goes along all ways: the operand is written at the beginning of the next turn', () => {
  expect(said(...loop('MOV R57, RZ', ...sum))).toMatch(/MOV R57, RZ: writes R57/);
  expect(said(...sum, '@P0 BRA `(.L_x_2)', wait(0), '.L_x_2', 'FMUL R3, R88, R4', 'EXIT')).toMatch(/reads R88/);
});

it('finds operands that were written with no arrival since', () => {
  expect(said('WARPGROUP.ARRIVE', ...rounded, ...sum.slice(1), wait(0), 'EXIT')).toMatch(
    /takes R56, which .*F2FP.* with no WARPGROUP.ARRIVE/,
  );
});

it('finds an operand loaded before a loop whose registers another operand is given inside of it', () => {
  const held = ['LDSM.16.M88.4 R56, [R2]'];
  const turn = [...scores.slice(0, 1), 'HGMMA.64x64x16.F32.BF16 R24, R56, gdesc[UR8], RZ, !UPT, gsb0', wait(0)];
  expect(said(...held, ...loop(...turn, ...rounded, ...sum, wait(0)))).toMatch(/takes R56 as .*LDSM.* or as .*F2FP/);
  const elsewhere = [...rounded, ...sum].map((line) => line.replace(/\bR5(?=[678],)/g, 'R7'));
  expect(said(...held, ...loop(...turn, ...elsewhere, wait(0)))).toContain('0 faults');
});
