import { configs } from '../../property-tests/arbitraries/models.js';

/** A small config.json of the model type. */
export const makeRaw = (modelType: string): Readonly<Record<string, unknown>> => {
  const raw = Object.values(configs).find(({ model_type }) => model_type === modelType);
  if (raw === undefined) throw new Error(`no configuration of ${modelType} here`);
  return raw;
};
