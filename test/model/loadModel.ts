/** Small checkpoints for tests: one safetensors file of float32 or float16 tensors and a config.json. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { tensor } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { modelConfig } from '../../src/model/architectures.js';
import { makeCausalLm } from '../../src/model/model.js';
import type { CausalLM } from '../../src/model/model.js';

interface Entry {
  readonly dtype: 'F32' | 'F16';
  readonly shape: number[];
  readonly data_offsets: readonly [number, number];
}

const half = (bits: number): number => {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  return exponent === 0 ? sign * fraction * 2 ** -24 : sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
};

interface Numbers {
  readonly values: Float32Array;
  readonly shape: number[];
}

/** What a file holds, as plain numbers: no engine need have been started. */
export const readNumbers = (path: string): Record<string, Numbers> => {
  const bytes = readFileSync(path);
  const headerSize = Number(bytes.readBigUInt64LE(0));
  const header = JSON.parse(bytes.toString('utf8', 8, 8 + headerSize)) as Record<string, Entry>;
  const entries = Object.entries(header).filter(([name]) => name !== '__metadata__');
  return Object.fromEntries(
    entries.map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [start, end],
        },
      ]) => {
        const data = Uint8Array.from(bytes.subarray(8 + headerSize + start, 8 + headerSize + end)).buffer;
        const values = dtype === 'F32' ? new Float32Array(data) : Float32Array.from(new Uint16Array(data), half);
        return [name, { values, shape }];
      },
    ),
  );
};

export const readTensors = (path: string): Record<string, Tensor> =>
  Object.fromEntries(
    Object.entries(readNumbers(path)).map(([name, { values, shape }]) => [name, tensor(values, shape)]),
  );

export const orThrow = <A>(result: E.Either<Error, A>): A => {
  if (E.isLeft(result)) throw result.left;
  return result.right;
};

export const loadModel = (directory: string): CausalLM => {
  const config = orThrow(modelConfig(JSON.parse(readFileSync(join(directory, 'config.json'), 'utf8'))));
  return orThrow(makeCausalLm(config, readTensors(join(directory, 'model.safetensors'))));
};
