import { describe, expect, jest, test } from '@jest/globals';
import { engine, square, tensor1d, tidy } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { orThrow } from '../../src/errors.js';
import { chooseEngine, doctor } from '../../src/train/engine.js';
import type { EngineName, Starter } from '../../src/train/engine.js';

const world = (there: ReadonlyArray<EngineName>): Readonly<Record<EngineName, Starter>> => {
  const starter =
    (engine: EngineName): Starter =>
    () =>
      Promise.resolve(there.includes(engine) ? E.right(`${engine} of the test`) : E.left('not built'));
  return { native: starter('native'), tensorflow: starter('tensorflow'), wasm: starter('wasm'), cpu: starter('cpu') };
};

describe('chooseEngine', () => {
  test('takes the fastest that starts and says why not the others', async () => {
    const report = await orThrow(chooseEngine({}, world(['wasm', 'cpu'])));
    expect(report.engine).toBe('wasm');
    expect(report.reason).toBe(
      'wasm (wasm of the test), because native is not there (not built), tensorflow is not there (not built)',
    );
    expect(report.tried.map(({ engine, started }) => [engine, started])).toEqual([
      ['native', false],
      ['tensorflow', false],
      ['wasm', true],
    ]);
  });

  test('takes the one asked for, slower ones too', async () => {
    const report = await orThrow(chooseEngine({ engine: 'cpu' }, world(['native', 'cpu'])));
    expect([report.engine, report.reason]).toEqual(['cpu', 'cpu (cpu of the test), as asked']);
  });

  test('never takes another than the one asked for', async () => {
    const result = await chooseEngine({ engine: 'native' }, world(['wasm']))();
    expect(E.isLeft(result) && result.left.code).toBe('E_ENGINE_UNAVAILABLE');
    expect(E.isLeft(result) && result.left.details.hint).toContain('rxtune doctor');
  });

  test('a starter that throws is one that does not start', async () => {
    const broken: Starter = () => Promise.reject(new Error('cannot map\nstack'));
    const report = await orThrow(chooseEngine({}, { ...world(['cpu']), native: broken }));
    expect(report.tried[0]).toEqual({ engine: 'native', started: false, note: 'cannot map' });
  });

  test('bfloat16 is for the native engine; elsewhere it is told and left out', async () => {
    const half = await orThrow(chooseEngine({ precision: 'bfloat16' }, world(['native'])));
    expect([half.precision, half.warnings]).toEqual(['bfloat16', []]);
    const whole = await orThrow(chooseEngine({ precision: 'bfloat16' }, world(['wasm'])));
    expect([whole.precision, whole.warnings[0]?.code]).toEqual(['float32', 'W_PRECISION_IGNORED']);
  });

  test('instructions that nothing runs with are told', async () => {
    const before = process.env['RXTUNE_ISA'];
    process.env['RXTUNE_ISA'] = 'mmx';
    try {
      const without = await orThrow(chooseEngine({}, world(['wasm'])));
      expect(without.warnings).toMatchObject([{ code: 'W_ISA_IGNORED', actual: 'not built' }]);
      expect((await orThrow(chooseEngine({}, world(['native'])))).warnings).toEqual([]);
      expect((await orThrow(chooseEngine({ engine: 'cpu' }, world(['cpu'])))).warnings).toEqual([]);
    } finally {
      if (before === undefined) delete process.env['RXTUNE_ISA'];
      else process.env['RXTUNE_ISA'] = before;
    }
    expect((await orThrow(chooseEngine({}, world(['wasm'])))).warnings).toEqual([]);
  });
});

test('the cpu backend recommends no other, and tfjs keeps nothing of kernels that ran', async () => {
  const warned = jest.spyOn(console, 'warn').mockReturnValue(undefined);
  await orThrow(chooseEngine({ engine: 'cpu' }));
  const kept = (): number => engine().state.numDataMovesStack.length;
  const before = kept();
  tidy(() => square(tensor1d([1, 2])));
  expect(kept()).toBe(before);
  expect(warned).not.toHaveBeenCalled();
  warned.mockRestore();
});

test('doctor tries every engine and tells which would run', async () => {
  const { engines, chosen } = await orThrow(doctor({}, world(['native', 'cpu'])));
  expect(engines.map(({ engine, started }) => [engine, started])).toEqual([
    ['native', true],
    ['tensorflow', false],
    ['wasm', false],
    ['cpu', true],
  ]);
  expect(chosen.engine).toBe('native');
});

test('a TensorFlow binding that is not there is told in plain words, without a stack', async () => {
  const started = await chooseEngine({ engine: 'tensorflow' })();
  // A machine that has one starts it.
  if (E.isRight(started)) {
    expect(started.right.engine).toBe('tensorflow');
    return;
  }
  expect(started.left.code).toBe('E_ENGINE_UNAVAILABLE');
  expect(started.left.details.actual).toMatch(
    /^tensorflow: @tensorflow\/tfjs-node-gpu .*; @tensorflow\/tfjs-node [^\n]*$/,
  );
  expect(started.left.details.hint).toContain('npm install @tensorflow/tfjs-node');
});
