/** Directories with small models of made-up weights in them. */
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { here } from '../turns.mjs';

/** The model of a config.json. */
export const writeModel = async (dir, raw) => {
  const { expectedTensors, modelConfig, orThrow, writeCheckpointTensors } = await import(here('../dist/index.js'));
  await writeFile(join(dir, 'config.json'), JSON.stringify(raw));
  const decoded = modelConfig(raw);
  if (decoded._tag === 'Left') throw decoded.left;
  await orThrow(
    writeCheckpointTensors(
      dir,
      expectedTensors(decoded.right).map(({ name, shape }) => ({
        ...{ name, dtype: 'F32', shape },
        data: () => {
          const size = shape.reduce((a, b) => a * b, 1);
          return Promise.resolve(
            Float32Array.from({ length: size }, (_, i) => ((i * 2654435761) % 1000) / 50000 - 0.01),
          );
        },
      })),
    ),
  );
};

export const writeSmallLlama = (dir, { vocab, hidden, layers, heads }) =>
  writeModel(dir, {
    ...{ model_type: 'llama', vocab_size: vocab, hidden_size: hidden, intermediate_size: 3 * hidden },
    ...{ num_hidden_layers: layers, num_attention_heads: heads, num_key_value_heads: heads / 2 },
    max_position_embeddings: 4096,
  });
