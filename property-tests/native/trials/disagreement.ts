/** Where the native engine's kernels differ from the reference, in every form of the engine. */
import '@tensorflow/tfjs-backend-cpu';
import { setBackend } from '@tensorflow/tfjs-core';
import type { Tensor } from '@tensorflow/tfjs-core';
import { alive, configurations, difference, startNative, valuesOf } from '../../../test/native.js';
import type { Values } from '../../../test/native.js';
import { dispose, listed, nothing, onBackend } from './trial.js';
import type { Trial } from './trial.js';

const largestOf = ({ values }: Values): number => values.reduce((max, x) => Math.max(max, Math.abs(x)), 0);

/** The largest number of each output when all inputs are positive: rounding is a share of the terms, also where they cancel. */
const uncancelled = (t: Trial): ReadonlyArray<number> => {
  const positive = ({ shape, values }: Values): Values => ({ shape, values: values.map(Math.abs) });
  const inputs: Trial['inputs'] = Array.isArray(t.inputs)
    ? t.inputs.map(positive)
    : Object.fromEntries(
        Object.entries(t.inputs as Readonly<Record<string, Values | undefined>>).map(([key, values]) => [
          key,
          values === undefined ? undefined : positive(values),
        ]),
      );
  const lent = onBackend(inputs);
  const outputs = t.reference(lent as never, t.attrs as never);
  const largest = outputs.map((output) => largestOf(valuesOf(output)));
  dispose([...outputs, ...listed(lent)]);
  return largest;
};

export const disagreement = async (
  t: Trial,
  prepare: (t: Trial, inputs: ReturnType<typeof onBackend>) => void = () => undefined,
): Promise<string | undefined> => {
  await setBackend('cpu');
  const lent = onBackend(t.inputs);
  const outputs = t.reference(lent as never, t.attrs as never);
  const wanted = outputs.map(valuesOf);
  dispose([...outputs, ...listed(lent)]);
  const terms = t.rough === true ? uncancelled(t) : [];
  for (const configuration of configurations) {
    await startNative(configuration);
    const before = alive();
    const inputs = onBackend(t.inputs);
    prepare(t, inputs);
    const results = t.run(inputs as never, t.attrs as never);
    const compared =
      t.inPlace === undefined
        ? results
        : t.inPlace.flatMap((key) => (inputs as Readonly<Record<string | number, Tensor>>)[key] ?? []);
    const got = compared.map(valuesOf);
    dispose([...results, ...listed(inputs)]);
    const where = `${t.name} on ${configuration.isa}, ${configuration.threads} threads`;
    if (got.length !== wanted.length) return `${where}: ${got.length} outputs, expected ${wanted.length}`;
    for (const [i, values] of wanted.entries()) {
      const largest = t.rough === true ? Math.max(largestOf(values), terms[i] ?? 0) : 1;
      const different = difference(got[i] ?? nothing, values, (t.tolerance ?? 2e-5) * largest);
      if (different !== undefined) return `${where}, output ${i}: ${different}`;
    }
    const after = alive();
    if (JSON.stringify(after) !== JSON.stringify(before))
      return `${where} leaves ${JSON.stringify(after)} where there was ${JSON.stringify(before)}`;
  }
  return undefined;
};
