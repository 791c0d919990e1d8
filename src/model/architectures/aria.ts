/**
 * The text model of Aria: Llama's attention, and a mixture with experts that all tokens go to. Files hold the experts of a layer in two
 * tensors, inputs first.
 */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FileLayout } from '../architecture.js';
import { decodeFields, optional, positiveInteger, unfit } from '../config.js';
import { gatedNames } from '../layers/mlp.js';
import { renamedFiles } from '../stored/renamedFiles.js';
import { inputsFirstFiles } from './inputsFirstFiles.js';
import { mixtureArchitecture, mixtureConfig } from './mixture.js';
import type { MixtureConfig, MixtureNames } from './mixture.js';

const names: MixtureNames = {
  block: 'mlp',
  ...gatedNames,
  router: 'router',
  shared: { module: 'shared_experts', gated: false },
};

const fields = t.type({
  intermediate_size: positiveInteger,
  moe_num_experts: optional(positiveInteger),
  moe_topk: optional(positiveInteger),
  moe_num_shared_experts: optional(positiveInteger),
});

const fileLayout = ({ numLayers, hiddenSize, expertSize, experts }: MixtureConfig): FileLayout => {
  const modules = Array.from({ length: numLayers }, (_, i) => `model.layers.${i}.mlp.experts`);
  const called = renamedFiles(
    modules.flatMap((module) => [
      [`${module}.fc1.weight`, `${module}.gate_up_proj`] as const,
      [`${module}.fc2.weight`, `${module}.down_proj`] as const,
    ]),
  );
  const { numExperts } = experts;
  const joined = inputsFirstFiles({ modules, byTurns: false, hiddenSize, expertSize, numExperts });
  return {
    read: (tensors) => pipe(called.read(tensors), E.flatMap(joined.read)),
    write: (tensors) => called.write(joined.write(tensors)),
  };
};

export const aria = mixtureArchitecture<MixtureConfig>({
  name: 'aria',
  modelTypes: ['aria_text'],
  names,
  config: (raw, modelType) =>
    pipe(
      decodeFields(fields)(raw),
      E.bindTo('f'),
      E.let('numExperts', ({ f }) => f.moe_num_experts ?? 8),
      E.let('perToken', ({ f }) => f.moe_topk ?? 2),
      E.filterOrElse(
        ({ numExperts, perToken }) => perToken <= numExperts,
        ({ numExperts, perToken }) => unfit('moe_topk', `at most ${numExperts}, the number of experts`, perToken),
      ),
      E.bind('config', ({ f, numExperts, perToken }) =>
        mixtureConfig({ ...raw, num_experts: numExperts, num_experts_per_tok: perToken }, modelType, {
          numExperts,
          perToken,
          // A softmax of the chosen alone.
          normalized: true,
          auxLossCoef: 0,
          balanced: false,
          sharedSize: () => (f.moe_num_shared_experts ?? 2) * f.intermediate_size,
          llama: {},
          only: { mlp_bias: false, hidden_act: 'silu' },
        }),
      ),
      E.map(({ config }) => ({ ...config, architecture: 'aria', raw })),
    ),
  packed: () => [],
  fileLayout,
});
