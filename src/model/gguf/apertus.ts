/** Apertus in GGUF: the numbers that its activations train are metadata there. */
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { float32s } from '../../formats/gguf/values.js';
import { xieluConstants } from '../architectures/apertus.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, noBias, rmsEps } from './llamaLike.js';

const activation = /\.mlp\.act_fn\.(alpha_[pn])$/;

const mapped: LayoutOf<LlamaConfig> = layoutOf({
  ...noBias,
  name: 'apertus',
  names: { attention_layernorm: 'attn_norm', feedforward_layernorm: 'ffn_norm' },
  metadata: (config) => {
    const ofLayers = (value: number): ReadonlyArray<number> => Array.from({ length: config.numLayers }, () => value);
    return {
      ...rmsEps('apertus')(config),
      'xielu.beta': float32s(ofLayers(xieluConstants.beta)),
      'xielu.eps': float32s(ofLayers(xieluConstants.eps)),
    };
  },
});

export const apertusLayout: LayoutOf<LlamaConfig> = (config, specs) =>
  pipe(
    mapped(
      config,
      specs.filter(({ name }) => !activation.test(name)),
    ),
    E.map((layout) => ({
      ...layout,
      told: (['alpha_n', 'alpha_p'] as const).map((number) => ({
        name: `xielu.${number}`,
        sources: specs.flatMap(({ name }) => (activation.exec(name)?.[1] === number ? [name] : [])),
      })),
    })),
  );
