/** VaultGemma: Gemma 2 without the norms behind attention and MLP. */
import type { Architecture } from '../architecture.js';
import { inTurn, rotaryBody } from '../layers/blocks.js';
import { gemma2Config } from './gemma2.js';
import { compose } from '../layers/layer.js';
import { llama, llamaStem, llamaTensors, mlp, norm, selfAttention } from './llama.js';
import type { LlamaConfig } from './llama.js';

const beforeMlp = 'pre_feedforward_layernorm';

export const vaultGemma: Architecture<LlamaConfig> = {
  ...llama,
  name: 'vaultgemma',
  modelTypes: ['vaultgemma'],
  config: gemma2Config('vaultgemma'),
  tensors: (config) =>
    llamaTensors(config).map((spec) => ({ ...spec, name: spec.name.replace('post_attention_layernorm', beforeMlp) })),
  body: (config, pass) =>
    rotaryBody(config, pass, llamaStem(config, pass), (angles, i) =>
      inTurn(
        { pass, i, numLayers: config.numLayers },
        compose(norm(config, `model.layers.${i}.input_layernorm`), selfAttention(config, pass, angles, i)),
        compose(norm(config, `model.layers.${i}.${beforeMlp}`), mlp(config, pass, i)),
      ),
    ),
};
