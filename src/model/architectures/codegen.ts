/** CodeGen: GPT-J whose queries, values and keys come of one matrix, in four groups of heads. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { unfit } from '../config.js';
import { regrouped, splitGroups } from '../layers/columns.js';
import { compose } from '../layers/layer.js';
import { linear } from '../layers/linear.js';
import { linearSpec } from '../weights.js';
import { gptj, gptjLike } from './gptj.js';

/** Whatever the size of the model. */
const groups = 4;

export const codegen = gptjLike(
  {
    specs: ({ hiddenSize }, module) => linearSpec(`${module}.qkv_proj`, 3 * hiddenSize, hiddenSize, false),
    project: ({ hiddenSize }, pass, module) =>
      compose(
        linear(pass, { module: `${module}.qkv_proj` }),
        splitGroups(groups, [hiddenSize / groups, hiddenSize / groups, hiddenSize / groups]),
        regrouped([[0], [2], [1]]),
      ),
  },
  {
    name: 'codegen',
    modelTypes: ['codegen'],
    config: (raw, modelType) =>
      pipe(
        gptj.config(raw, modelType),
        E.filterOrElse(
          ({ numHeads }) => numHeads % groups === 0,
          ({ numHeads }) => unfit('n_head', `a multiple of ${groups}`, numHeads),
        ),
        E.map((config) => ({ ...config, architecture: 'codegen' })),
      ),
    buffers: /\.attn\.(?:causal_mask|embed_positions)$/,
    loraTargets: () => ['qkv_proj'],
  },
);
