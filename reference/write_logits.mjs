/**
 * Logits of a model (and adapter) as rxtune computes them, for check_outputs.py.
 *
 *     node reference/write_logits.mjs MODEL_DIR [ADAPTER_DIR] > logits.json
 */
import { load, logits, orThrow } from '../dist/index.js';

const [modelDir, adapterDir] = process.argv.slice(2);
const { model } = await orThrow(load(modelDir, adapterDir === undefined ? {} : { adapterDir }));
const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 37 + 5) % model.config.vocabSize);
const values = logits(model, {
  inputIds: ids,
  positionIds: ids.map((_, i) => i),
  cuSeqlens: Int32Array.from([0, ids.length]),
});
process.stdout.write(JSON.stringify({ input_ids: [...ids], logits: await values.array() }));
