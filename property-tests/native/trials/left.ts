/** What an op leaves behind when a step within it fails. */
import '@tensorflow/tfjs-backend-cpu';
import { engine, setBackend } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { alive, startNative } from '../../../test/native.js';
import { dispose, listed, onBackend } from './trial.js';
import type { Trial } from './trial.js';

/**
 * Runs something again and again, one of its calls of `f` failing, each time a later one (far into a long loop not
 * every one); stops at the first run after which `left` tells of any.
 */
const failing = (
  of: Readonly<Record<string, unknown>>,
  f: string,
  run: () => ReadonlyArray<Tensor>,
  left: () => string | undefined,
): string | undefined => {
  const own = of[f] as (...given: ReadonlyArray<unknown>) => unknown;
  for (let failed = 0; ; failed += 1 + (failed >> (failed < 64 ? 2 : 0))) {
    let calls = 0;
    const replaced = (...given: ReadonlyArray<unknown>): unknown => {
      if (calls++ === failed) throw new Error('injected');
      return own.apply(of, [...given]);
    };
    Object.defineProperty(of, f, { value: replaced, configurable: true, writable: true });
    try {
      dispose([...run()]);
    } catch (error) {
      if (!(error instanceof Error) || error.message !== 'injected') throw error;
    } finally {
      Object.defineProperty(of, f, { value: own, configurable: true, writable: true });
    }
    const found = left();
    if (found !== undefined) return `after ${failed} calls of ${f}: ${found}`;
    if (calls <= failed) return undefined;
  }
};

/** What an op leaves behind when a step within it fails: of the reference one of tfjs, of the engine's kernel one of the engine. */
const triedFailing = (
  t: Trial,
  run: Trial['run'],
  inputs: ReturnType<typeof onBackend>,
  of: object,
  f: string,
): string | undefined => {
  const before = JSON.stringify(alive());
  const left = (): string | undefined => {
    const after = JSON.stringify(alive());
    return after === before ? undefined : `${t.name} leaves ${after} where there was ${before}`;
  };
  const found = failing(of as Record<string, unknown>, f, () => run(inputs as never, t.attrs as never), left);
  dispose([...listed(inputs)]);
  return found;
};

export const leftByReference = async (t: Trial): Promise<string | undefined> => {
  await setBackend('cpu');
  return triedFailing(t, t.reference, onBackend(t.inputs), engine(), 'runKernel');
};

export const leftByNative = async (
  t: Trial,
  prepare: (t: Trial, inputs: ReturnType<typeof onBackend>) => void = () => undefined,
): Promise<string | undefined> => {
  await startNative();
  const inputs = onBackend(t.inputs);
  prepare(t, inputs);
  const backend = engine().backend as unknown as { addon: object };
  const { addon } = backend;
  // The addon's own functions cannot be replaced.
  backend.addon = Object.create(addon) as object;
  try {
    return triedFailing(t, t.run, inputs, backend.addon, 'op');
  } finally {
    backend.addon = addon;
  }
};
