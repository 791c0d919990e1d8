import type { CausalLM } from './model.js';

/**
 * Frees all tensors of a model: its weights and every adapter that it has, in use or put by. Models that share them (the one it was
 * adapted from, `withoutAdapter`'s view) go with it. Nothing else frees them: engines keep a tensor until it is disposed.
 */
export const disposeModel = ({ weights, taken = {}, adapters }: CausalLM): void => {
  const putBy = Object.values(adapters?.all ?? {}).flatMap((own) => [own.weights, own.beside, own.taken ?? {}]);
  for (const tensors of [weights, taken, adapters?.base ?? {}, ...putBy]) {
    for (const tensor of Object.values(tensors)) tensor.dispose();
  }
};
