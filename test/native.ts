/** What tests of the native engine share: whether it is there, in which forms, and how results are compared. */
import { describe } from '@jest/globals';
import { engine, memory, setBackend, tensor } from '@tensorflow/tfjs-core';
import type { Rank, ShapeMap, Tensor } from '@tensorflow/tfjs-core';
import { isRight } from 'fp-ts/lib/Either.js';
import type { InstructionSet } from '../src/native/addon.js';
import { registerNative } from '../src/native/register.js';

const started = registerNative({ threads: 1 });
if (started._tag === 'Left') process.stdout.write(`skipped, no native engine: ${started.left}\n`);

/** `describe`, skipped where there is no native engine. */
export const describeNative: (name: string, tests: () => void) => void = isRight(started) ? describe : describe.skip;

export interface Configuration {
  readonly isa: InstructionSet;
  readonly threads: number;
}

/** Every instruction set of this processor, and one to three threads. */
export const configurations: ReadonlyArray<Configuration> = (
  [
    { isa: 'portable', threads: 2 },
    { isa: 'avx2', threads: 1 },
    { isa: 'avx2', threads: 3 },
    { isa: 'avx512', threads: 1 },
    { isa: 'avx512', threads: 2 },
    { isa: 'amx', threads: 2 },
    { isa: 'neon', threads: 1 },
    { isa: 'neon', threads: 3 },
  ] as const
).filter((configuration) => isRight(registerNative(configuration)));

/** Makes the native engine current, with these threads and instructions. */
export const startNative = async (configuration: { readonly isa?: InstructionSet; readonly threads?: number } = {}) => {
  const result = registerNative({ threads: 2, ...configuration });
  if (result._tag === 'Left') throw new Error(result.left);
  await setBackend('native');
};

/** A tensor's shape and values, on no backend. */
export interface Values {
  readonly shape: ReadonlyArray<number>;
  readonly values: Float32Array;
}

export const tensorOf = ({ shape, values }: Values): Tensor => tensor(values, [...shape] as ShapeMap[Rank], 'float32');

export const valuesOf = (t: Tensor): Values => ({ shape: t.shape, values: t.dataSync<'float32'>() });

/** What lives in the engine: what a test must leave as it found it. */
export const alive = () => {
  const { numTensors, numDataBuffers, numBytes } = memory();
  const { nativeBytes } = engine().backend.memory() as unknown as { nativeBytes: number };
  return { numTensors, numDataBuffers, numBytes, nativeBytes };
};

/**
 * Where two lists of values differ by more than tolerance · (1 + |wanted|), or undefined. NaN wants NaN, an infinity itself.
 */
export const difference = (got: Values, wanted: Values, tolerance: number): string | undefined => {
  if (got.shape.join() !== wanted.shape.join()) return `shape [${got.shape.join()}], expected [${wanted.shape.join()}]`;
  for (let i = 0; i < wanted.values.length; i++) {
    const g = got.values[i] ?? NaN;
    const w = wanted.values[i] ?? NaN;
    if (Object.is(g, w) || g === w || (Number.isNaN(g) && Number.isNaN(w))) continue;
    if (!(Math.abs(g - w) <= tolerance * (1 + Math.abs(w)))) return `[${i}] is ${g}, expected ${w}`;
  }
  return undefined;
};
