/**
 * What JavaScript costs in a training step, which is what a fast card must not wait for: CPU time of its thread, through the public
 * trainer, for a Llama of 22 layers (TinyLlama 1.1B has as many) and a GPT-2 of 12, so small that their kernels take no time. It
 * depends on the operations of a step, not on the sizes of tensors.
 *
 *     npm run bench -- dispatch [--rounds 5] [--steps 200] [--tokens 64] [--precision bfloat16]
 *
 * Medians over rounds. It needs Linux, or Node.js from 23.9 on.
 */
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { writeModel } from './ours/smallModel.mjs';
import { flags, here, median, once, report, rounded } from './turns.mjs';

const { rounds, steps, tokens, precision } = flags({ rounds: 5, steps: 200, tokens: 64, precision: 'bfloat16' });

const shapes = {
  'llama-22': {
    ...{ model_type: 'llama', vocab_size: 64, hidden_size: 16, intermediate_size: 32, num_hidden_layers: 22 },
    ...{ num_attention_heads: 2, num_key_value_heads: 1, max_position_embeddings: 4096 },
  },
  'gpt2-12': { model_type: 'gpt2', vocab_size: 64, n_embd: 16, n_layer: 12, n_head: 2, n_positions: 4096 },
};

const found = {};
for (let round = 0; round < rounds; round++) {
  for (const [shape, raw] of Object.entries(shapes)) {
    const dir = await mkdtemp(join(tmpdir(), 'rxtune-bench-'));
    await writeModel(dir, raw);
    for (const mode of ['full', 'lora']) {
      const options = { model: dir, mode, precision, tokens, steps };
      const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, `${value}`]);
      const one = await once(process.execPath, [here('ours/dispatch.mjs'), ...args]);
      (found[`${shape}-${mode}`] ??= []).push(one);
    }
    await rm(dir, { recursive: true });
  }
}
const steady = Object.fromEntries(
  Object.entries(found).map(([name, all]) => [
    name,
    {
      milliseconds: rounded(median(all.map(({ milliseconds }) => milliseconds))),
      operations: Math.round(median(all.map(({ operations }) => operations))),
    },
  ]),
);
for (const [name, { milliseconds, operations }] of Object.entries(steady))
  console.log(`${name.padEnd(16)} ${milliseconds.toFixed(2)} ms of JavaScript for ${operations} operations a step`);
report('dispatch', {}, { rounds, steps, tokens, precision, steady });
