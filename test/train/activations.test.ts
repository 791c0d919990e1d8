/** What a token keeps for the way back: as it is added up from names and shapes, against what the native engine holds after a pass. */
import { beforeAll, describe, expect, test } from '@jest/globals';
import { memory } from '@tensorflow/tfjs-core';
import { disposeModel, tinyModel } from '../../property-tests/train/tiny.js';
import { orThrow } from '../../src/errors.js';
import { architectureOf, expectedTensors } from '../../src/model/architectures.js';
import type { CausalLM } from '../../src/model/model.js';
import type { TensorSpec } from '../../src/model/weights.js';
import { chooseEngine } from '../../src/train/engine.js';
import { keptWidths } from '../../src/train/memory/activations.js';
import { describeNative } from '../native.js';

const norm = (module: string, width: number): TensorSpec => ({
  name: `${module}.weight`,
  shape: [width],
  kind: 'norm',
});
const map = (module: string, output: number, input: number): TensorSpec => ({
  name: `${module}.weight`,
  shape: [output, input],
  kind: 'linear',
});

describe('norms', () => {
  const block = [
    map('h.0.attn.q_proj', 12, 10),
    map('h.0.attn.k_proj', 6, 10),
    map('h.0.attn.o_proj', 10, 12),
    map('h.0.mlp.up_proj', 30, 10),
    map('h.0.mlp.down_proj', 10, 30),
  ];
  const kept = (...specs: ReadonlyArray<TensorSpec>) =>
    keptWidths({
      specs: [...block, ...specs],
      hiddenSize: 10,
      trains: () => false,
      adapters: new Map(),
      keptBytes: 2,
    });
  const alone = kept().kept;
  const more = (...specs: ReadonlyArray<TensorSpec>): number => (kept(...specs).kept - alone) / 2;

  test('of the stream read the sums that stand where the outputs of its branches were; further ones read something else', () => {
    const before = [norm('h.0.input_layernorm', 10), norm('h.0.pre_feedforward_layernorm', 10)];
    expect(more(...before)).toBe(0);
    expect(more(...before, norm('h.0.post_attention_layernorm', 10), norm('h.0.post_feedforward_layernorm', 10))).toBe(
      2 * 10,
    );
  });

  test('of queries and keys keep all heads, whether their gain is of one or of all', () => {
    expect(more(norm('h.0.attn.q_norm', 3), norm('h.0.attn.k_norm', 3))).toBe(12 + 6);
    expect(more(norm('h.0.attn.query_layernorm', 12), norm('h.0.attn.key_layernorm', 6))).toBe(12 + 6);
  });

  test('of a latent read what its map puts out, which is counted; those within mixers keep what they read', () => {
    expect(more(norm('h.0.attn.q_a_layernorm', 5), norm('h.0.mixer.norm', 24))).toBe(24);
  });

  test('after the last layer lie outside of what a layer makes again', () => {
    expect(more(norm('norm', 10))).toBe(0);
    expect(kept(norm('norm', 10)).outside).toBe(2 * 10);
  });
});

describeNative('a pass', () => {
  beforeAll(async () => {
    await orThrow(chooseEngine({ engine: 'native' }));
  });

  const held = (): number => (memory() as { readonly nativeBytes?: number }).nativeBytes ?? 0;

  /** Bytes that the layers of a model hold for the way back of so many tokens. */
  const heldFor = (model: CausalLM, tokens: number): number => {
    const inputIds = Int32Array.from({ length: tokens }, (_, i) => i % 40);
    const sequence = { inputIds, positionIds: inputIds.map((_, i) => i), cuSeqlens: Int32Array.of(0, tokens) };
    const before = held();
    const run = architectureOf(model.config).body({ sequence })(model.weights, sequence, {
      input: false,
      weight: () => true,
    });
    const bytes = held() - before;
    if (run.active) run.drop();
    run.value.dispose();
    return bytes;
  };

  test.each(['llama', 'qwen3', 'gemma3', 'olmo2', 'glm4', 'mixtral'])('of %s keeps what is estimated', async (name) => {
    const model = await tinyModel(name);
    const { kept, outside } = keptWidths({
      specs: expectedTensors(model.config),
      hiddenSize: model.config.hiddenSize,
      trains: () => true,
      adapters: new Map(),
      keptBytes: 4,
    });
    const measured = (heldFor(model, 32) - heldFor(model, 16)) / 16;
    disposeModel(model);
    const share = (kept + outside) / measured;
    expect({ name, share: share > 0.92 && share < 1.08 ? 'near' : share }).toEqual({ name, share: 'near' });
  });
});
