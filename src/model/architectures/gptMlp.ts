/** The MLP of GPT-2 and of what is built like it. */
import type { Tensor } from '@tensorflow/tfjs-core';
import { dropout } from '../layers/dropout.js';
import { compose } from '../layers/layer.js';
import type { Layer } from '../layers/layer.js';
import { plainMlp } from '../layers/mlp.js';
import type { Pass } from '../pass.js';
import type { GptConfig } from './gptConfig.js';

/** [N, C] to [N, C] in layer `i`; `transposed`: files hold its matrices inputs first. */
export const gptMlp = (
  config: Pick<GptConfig, 'activation' | 'residualDropout'>,
  pass: Pass,
  i: number,
  transposed = false,
): Layer<Tensor, Tensor> => {
  const module = `transformer.h.${i}.mlp`;
  return compose(
    plainMlp(pass, config.activation, { up: `${module}.c_fc`, down: `${module}.c_proj`, transposed }),
    dropout(pass, `${module}.dropout`, config.residualDropout),
  );
};
