/** Apertus as GGUF. What llama.cpp makes of it: reference/check_gguf.mjs. */
import { beforeAll, expect, test } from '@jest/globals';
import { startUnderTest } from '../../engine.js';
import { exported, numbers, there } from '../../train/exportedGguf.js';

beforeAll(async () => {
  await startUnderTest();
});

test("Apertus's activations are told by the numbers that each layer trains, which are no tensors", async () => {
  await exported('apertus', 'f16', (read, model) => {
    const { metadata, tensors } = read;
    expect(metadata).toMatchObject({
      'general.architecture': 'apertus',
      'xielu.beta': [0.5, 0.5],
      'xielu.eps': [Math.fround(-1e-6), Math.fround(-1e-6)],
    });
    for (const number of ['alpha_p', 'alpha_n'])
      expect(metadata[`xielu.${number}`]).toEqual(
        [0, 1].flatMap((layer) => numbers(model, `model.layers.${layer}.mlp.act_fn.${number}`)),
      );
    expect([...tensors.keys()].filter((name) => /act_fn|xielu/.test(name))).toEqual([]);
    expect(there(read, 'blk.1.ffn_norm.weight')).toEqual(numbers(model, 'model.layers.1.feedforward_layernorm.weight'));
    expect(there(read, 'blk.1.attn_norm.weight')).toEqual(numbers(model, 'model.layers.1.attention_layernorm.weight'));
    expect(tensors.has('rope_freqs.weight')).toBe(true);
  });
  await exported('apertus', 'f32', (read, model) => {
    // Halves turn there as they do here.
    expect(there(read, 'blk.1.attn_k.weight')).toEqual(numbers(model, 'model.layers.1.self_attn.k_proj.weight'));
  });
});
