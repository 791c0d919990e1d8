import { configs } from '../../property-tests/arbitraries/models.js';

/** A small config.json of the model type. */
export const makeRaw = (modelType: string): Readonly<Record<string, unknown>> => {
  const raw = configs[modelType];
  if (raw === undefined) throw new Error(`no configuration of ${modelType} here`);
  return raw;
};
