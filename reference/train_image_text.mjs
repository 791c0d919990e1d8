/**
 * The text parts of tiny models that see images, trained for a few steps and saved as whole checkpoints, and with an adapter beside
 * each; with the logits that check_image_text.py compares. Of models with experts attention alone is adapted: PEFT has no place for the
 * others' adapters in all of them.
 *
 *     node reference/train_image_text.mjs OUT_DIR        # needs dist
 */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { dispose } from '@tensorflow/tfjs-core';
import { completed, loadModel, logits, orThrow, sftTrainer } from '../dist/index.js';

const [out] = process.argv.slice(2);
const models = resolve(import.meta.dirname, '..', 'test', 'golden', 'models');
const seeing = readdirSync(models).filter(
  (name) =>
    'vision_config' in JSON.parse(readFileSync(join(models, name, 'config.json'), 'utf8')) &&
    // Holds its experts apart, as no class writes them.
    name !== 'qwen3_vl_moe',
);
const ids = Int32Array.from({ length: 24 }, (_, i) => (i * 7 + 6) % 31);

const rows = Array.from({ length: 4 }, (_, i) => {
  const inputIds = Array.from({ length: 9 }, (_, j) => ((i * 5 + j * 3) % 25) + 6);
  return { input_ids: inputIds, labels: inputIds };
});

const logitsOf = async (model) => {
  const values = logits(model, {
    inputIds: ids,
    positionIds: ids.map((_, i) => i),
    cuSeqlens: Int32Array.of(0, ids.length),
  });
  const all = await values.array();
  values.dispose();
  return { input_ids: [...ids], logits: all };
};

/** Linear maps to adapt. */
const targetsOf = (name) =>
  /"(n_routed_experts|(moe_)?num_(local_)?experts)"/.test(readFileSync(join(models, name, 'config.json'), 'utf8'))
    ? ['q_proj', 'v_proj']
    : 'all-linear';

for (const name of seeing) {
  for (const kind of ['whole', 'adapter']) {
    const dir = join(out, `${name}-${kind}`);
    mkdirSync(dir, { recursive: true });
    const run = sftTrainer(
      {
        model: join(models, name),
        trainDataset: rows,
        ...(kind === 'adapter' ? { peftConfig: { r: 2, targetModules: targetsOf(name) } } : {}),
      },
      { maxSteps: 3, learningRate: 2e-2, outputDir: dir, perDeviceTrainBatchSize: 2, saveStrategy: 'no' },
    );
    await orThrow(completed(run));
    const options = kind === 'adapter' ? { adapterDir: dir } : {};
    const { model } = await orThrow(loadModel(kind === 'adapter' ? join(models, name) : dir, options));
    writeFileSync(join(dir, 'logits.json'), JSON.stringify(await logitsOf(model)));
    dispose(Object.values(model.weights));
    console.log(name, kind);
  }
}
