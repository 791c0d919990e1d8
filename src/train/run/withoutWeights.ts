import type { CausalLM } from '../../model/model.js';

/** The same record, in whose JSON the model is without its weights: events go to logs and dashboards, and weights are gigabytes. */
export const withoutWeights = <A extends { readonly model: CausalLM }>(record: A): A => {
  const { config, trainable, lora } = record.model;
  return Object.defineProperty(record, 'toJSON', {
    value: () => ({ ...record, model: { config, trainable, ...(lora === undefined ? {} : { lora }) } }),
  });
};
