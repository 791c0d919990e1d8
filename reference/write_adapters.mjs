/**
 * Adapters of every kind, trained for a few steps on tiny models and saved, with the logits computed here: for check_adapters.py.
 *
 *     node reference/write_adapters.mjs OUT [ENGINE] [CASE,…]
 */
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { lastValueFrom } from 'rxjs';
import {
  addAdapter,
  attachLora,
  chooseEngine,
  combineAdapters,
  loadModel,
  logits,
  LoraConfig,
  onlyAdapter,
  orThrow,
  random,
  resizeTokenEmbeddings,
  saveAdapters,
  saveModel,
  setActiveAdapters,
  sftTrainer,
} from '../dist/index.js';

const [out, engine = 'wasm', only] = process.argv.slice(2);
const models = resolve(import.meta.dirname, '..', 'test', 'golden', 'models');

const right = (either) => {
  if (either._tag === 'Left') throw either.left;
  return either.right;
};

const everywhere = { r: 3, loraAlpha: 5, targetModules: 'all-linear' };
const cases = {
  linear: { base: 'llama', lora: everywhere },
  'linear-rslora-patterns': {
    base: 'qwen3',
    lora: {
      r: 2,
      useRslora: true,
      rankPattern: { up_proj: 3 },
      alphaPattern: { q_proj: 5 },
      targetModules: ['q_proj', 'up_proj'],
    },
  },
  'linear-biases': { base: 'opt', lora: { r: 2, bias: 'all' } },
  conv1d: { base: 'gpt2', lora: { r: 2, targetModules: ['c_attn', 'c_proj', 'c_fc'] } },
  embedding: { base: 'llama', lora: { r: 2, targetModules: ['embed_tokens', 'lm_head', 'v_proj'] } },
  'embedding-tied': { base: 'gpt2', lora: { r: 2, targetModules: ['wte', 'wpe', 'c_attn'] } },
  'embedding-scaled': { base: 'gemma', lora: { r: 2, targetModules: ['embed_tokens', 'q_proj'] } },
  'head-tied': { base: 'llama_biased_tied', lora: { r: 2, targetModules: ['lm_head', 'q_proj'] } },
  'modules-to-save': { base: 'llama', lora: { r: 2, modulesToSave: ['embed_tokens', 'lm_head', 'norm'] } },
  'modules-to-save-tied': { base: 'llama_biased_tied', lora: { r: 2, modulesToSave: ['lm_head'] } },
  dora: { base: 'llama', lora: { ...everywhere, useDora: true } },
  'dora-conv1d': { base: 'gpt2', lora: { r: 2, useDora: true } },
  'dora-embedding-head': {
    base: 'llama',
    lora: { r: 2, useDora: true, targetModules: ['embed_tokens', 'lm_head', 'q_proj'] },
  },
  'base-nf4': { base: 'llama', lora: everywhere, quant: 'nf4' },
  'base-fp4': { base: 'llama', lora: everywhere, quant: 'fp4' },
  'dora-nf4': { base: 'llama', lora: { ...everywhere, useDora: true }, quant: 'nf4' },
  rows: { base: 'llama', lora: { r: 2, trainableTokenIndices: { embed_tokens: [5, 9], lm_head: [9, 11, 5] } } },
  'rows-tied': { base: 'llama_biased_tied', lora: { r: 2, trainableTokenIndices: [5, 9] } },
  'rows-new': {
    base: 'llama',
    lora: { r: 2, trainableTokenIndices: { embed_tokens: [41, 43], lm_head: [41, 43] } },
    vocab: 44,
  },
  'rows-new-tied': { base: 'llama_biased_tied', lora: { r: 2, trainableTokenIndices: [41, 43] }, vocab: 44 },
  resized: { base: 'llama', lora: { r: 2 }, vocab: 44 },
  pissa: { base: 'llama', lora: { ...everywhere, initLoraWeights: 'pissa' } },
  'pissa-conv1d-rslora': { base: 'gpt2', lora: { r: 2, useRslora: true, initLoraWeights: 'pissa_niter_4' } },
  'olora-dora': { base: 'llama', lora: { r: 2, useDora: true, initLoraWeights: 'olora' } },
  'fused-phi3': { base: 'phi3_partial', lora: everywhere },
  'fused-neox-head': { base: 'gpt_neox', lora: { r: 2, targetModules: ['query_key_value', 'embed_in', 'lm_head'] } },
  'fused-neox-default': { base: 'gpt_neox_in_turn', lora: { r: 2 } },
  'neox-resized': { base: 'gpt_neox', lora: { r: 2 }, vocab: 44 },
  'fused-falcon': { base: 'falcon_groups', lora: { ...everywhere, useDora: true } },
  'granite-head': { base: 'granite', lora: { r: 2, targetModules: ['lm_head', 'embed_tokens', 'q_proj'] } },
  'granite-rows': { base: 'granite', lora: { r: 2, trainableTokenIndices: [41, 43] }, vocab: 44 },
  'cohere-head': { base: 'cohere', lora: { r: 2, targetModules: ['lm_head', 'v_proj'] } },
  'gptj-head': { base: 'gptj', lora: { r: 2, modulesToSave: ['lm_head'] } },
  'olmo-all': { base: 'olmo', lora: everywhere },
  'olmo2-norms': { base: 'olmo2', lora: { r: 2, modulesToSave: ['q_norm', 'norm'] } },
  'helium-all': { base: 'helium', lora: everywhere },
  'starcoder2-biases': { base: 'starcoder2', lora: { r: 2, bias: 'all' } },
  'stablelm-default': { base: 'stablelm_parallel', lora: { r: 2 } },
  'mixtral-default': { base: 'mixtral', lora: { r: 2 } },
  'mixtral-experts': { base: 'mixtral', lora: { ...everywhere, targetModules: ['q_proj', 'w1', 'w2', 'w3'] } },
  'mixtral-all': { base: 'mixtral', lora: everywhere },
  'qwen3-moe-experts': {
    base: 'qwen3_moe',
    lora: { ...everywhere, targetModules: ['o_proj', 'gate_proj', 'up_proj', 'down_proj'] },
  },
  'qwen3-moe-all': { base: 'qwen3_moe', lora: everywhere },
  'qwen2-moe-shared': {
    base: 'qwen2_moe',
    lora: { ...everywhere, targetModules: 'model\\.layers\\.\\d+\\.mlp\\.shared_expert\\.(gate|up|down)_proj' },
  },
  // On its routed experts PEFT 0.21 has no place for an adapter (with transformers 5): it knows those of Qwen3-MoE.
  'olmoe-experts': { base: 'olmoe', lora: { r: 2, targetModules: ['gate_proj', 'up_proj', 'down_proj'] } },
  'arcee-all': { base: 'arcee', lora: everywhere },
  'nemotron-norms': { base: 'nemotron', lora: { ...everywhere, modulesToSave: ['norm'] } },
  'jais2-biases': { base: 'jais2', lora: { r: 2, bias: 'all' } },
  'apertus-all': { base: 'apertus', lora: everywhere },
  'nanochat-all': { base: 'nanochat', lora: everywhere },
  'granite-swa-all': { base: 'granite_swa', lora: everywhere },
  'command-r-plus-norms': { base: 'cohere_head_norms', lora: { r: 2, modulesToSave: ['q_norm', 'k_norm'] } },
  'bigcode-all': { base: 'gpt_bigcode', lora: everywhere },
  'mpt-all': { base: 'mpt', lora: everywhere },
  'llama4-attention': {
    base: 'llama4',
    saved: true,
    lora: { ...everywhere, targetModules: ['q_proj', 'k_proj', 'v_proj', 'o_proj', 'embed_tokens'] },
  },
  'llama4-shared-dora': {
    base: 'llama4_plain',
    saved: true,
    lora: {
      r: 2,
      useDora: true,
      targetModules: 'model\\.layers\\.\\d+\\.feed_forward\\.(shared_expert\\.)?(gate|up|down)_proj',
    },
  },
  'llama4-image': { base: 'llama4_image', lora: { r: 2, targetModules: ['q_proj', 'v_proj'] } },
  'mistral4-latent': {
    base: 'mistral4',
    saved: true,
    lora: { ...everywhere, targetModules: ['q_a_proj', 'q_b_proj', 'kv_a_proj_with_mqa', 'kv_b_proj', 'o_proj'] },
  },
  'vaultgemma-all': { base: 'vaultgemma', lora: everywhere },
  'vaultgemma-head-dora': {
    base: 'vaultgemma',
    lora: { r: 2, useDora: true, targetModules: ['embed_tokens', 'q_proj'] },
  },
  'qwen3-vl-moe-head': {
    base: 'qwen3_vl_moe',
    saved: true,
    lora: { r: 2, targetModules: ['q_proj', 'o_proj'], modulesToSave: ['lm_head'] },
  },
  'nemotron-h-default': { base: 'nemotron_h', lora: { r: 2, bias: 'all' } },
  'nemotron-h-all': { base: 'nemotron_h', lora: { ...everywhere, excludeModules: ['out_proj'] } },
  'nemotron-h-shared': {
    base: 'nemotron_h_latent',
    lora: {
      r: 2,
      targetModules:
        'model\\.layers\\.\\d+\\.mixer\\.(shared_experts\\.(up|down)_proj|fc[12]_latent_proj|[qv]_proj|in_proj)',
    },
  },
  'mamba2-all': { base: 'mamba2', lora: { ...everywhere, excludeModules: ['out_proj'] } },
  'mamba2-biases': { base: 'mamba2_tied', lora: { r: 2, bias: 'all', targetModules: ['in_proj', 'embeddings'] } },
  'lfm2-vl': { base: 'lfm2_vl', lora: { ...everywhere, targetModules: ['in_proj', 'q_proj', 'w1'] } },
  'phimoe-biases': { base: 'phimoe', lora: { r: 2, bias: 'all', targetModules: ['q_proj', 'o_proj', 'lm_head'] } },
  'olmo-hybrid-all': { base: 'olmo_hybrid', lora: { ...everywhere, useDora: true } },
  'olmo-hybrid-norms': {
    base: 'olmo_hybrid_unturned',
    lora: { r: 2, bias: 'all', targetModules: ['q_proj', 'b_proj'], modulesToSave: ['norm'] },
  },
  'qwen3-next-all': {
    base: 'qwen3_next',
    lora: { r: 2, targetModules: ['in_proj_qkvz', 'in_proj_ba', 'out_proj', 'q_proj'] },
  },
  'qwen3-5-all': { base: 'qwen3_5_text', lora: { ...everywhere, bias: 'all' } },
  'qwen3-5-image': { base: 'qwen3_5_image', lora: { r: 2, targetModules: ['in_proj_qkv', 'in_proj_z', 'k_proj'] } },
  'falcon-h1-all': { base: 'falcon_h1', lora: { ...everywhere, excludeModules: ['out_proj'] } },
  'granite-hybrid-all': { base: 'granite_hybrid', lora: everywhere },
  'granite-hybrid-shared': {
    base: 'granite_hybrid_experts',
    saved: true,
    lora: {
      r: 2,
      targetModules: ['in_proj', 'q_proj', 'input_linear', 'output_linear'],
      excludeModules: '.*block_sparse_moe.*',
    },
  },
  'bamba-all': { base: 'bamba', lora: everywhere },
  'gemma3n-all': { base: 'gemma3n', lora: everywhere },
  orthogonal: { base: 'phi', lora: { r: 2, initLoraWeights: 'orthogonal' } },
};

const train = async (model, vocab) => {
  const { below } = random(3, 'sample');
  const trainDataset = Array.from({ length: 8 }, () => ({
    input_ids: Array.from({ length: 12 }, () => 1 + below(vocab - 1)),
  }));
  await lastValueFrom(
    sftTrainer({ model, trainDataset }, { maxSteps: 4, learningRate: 0.05, maxLength: 16, perDeviceTrainBatchSize: 4 }),
  );
};

const write = async (dir, about, model, vocab) => {
  const ids = Array.from({ length: 12 }, (_, i) => 1 + ((7 * i) % (vocab - 1)));
  const inputIds = Int32Array.from(ids);
  const values = logits(model, {
    inputIds,
    positionIds: Int32Array.from(ids, (_, i) => i),
    cuSeqlens: Int32Array.of(0, ids.length),
  });
  await writeFile(join(dir, 'logits.json'), JSON.stringify({ ...about, vocab, ids, logits: await values.array() }));
};

await rm(out, { recursive: true, force: true });
await orThrow(chooseEngine({ engine }));
for (const [name, { base, lora, quant, saved, vocab = 40 }] of Object.entries(cases)) {
  if (only !== undefined && !only.split(',').includes(name)) continue;
  let path = join(models, base);
  const dir = join(out, name);
  await mkdir(dir, { recursive: true });
  const quantisation = quant === undefined ? {} : { loadIn4bit: true, bnb4bitQuantType: quant };
  let { model } = await orThrow(loadModel(path, quantisation));
  if (saved) {
    // Experts as transformers has them, which the fixtures do not.
    path = join(dir, 'base');
    await orThrow(saveModel(path, model));
  }
  if (vocab !== 40) model = right(resizeTokenEmbeddings(model, { rows: vocab, init: 'mean' }));
  model = right(attachLora(model, right(LoraConfig.decode(lora)), { seed: 1 }));
  await train(model, vocab);
  await orThrow(saveModel(dir, model, { baseModelNameOrPath: path }));
  await write(dir, { base: path, quant }, model, vocab);
}

// Several on one model, trained one after the other, in use together and combined.
const path = join(models, 'llama');
const names = ['default', 'other'];
let { model } = await orThrow(loadModel(path));
for (const [i, name] of names.entries()) {
  model = right(
    addAdapter(model, name, { r: 2, targetModules: i === 0 ? ['q_proj', 'embed_tokens'] : 'all-linear' }, { seed: i }),
  );
  model = right(setActiveAdapters(model, name));
  await train(model, 40);
}
const dir = join(out, 'several');
await mkdir(dir, { recursive: true });
await orThrow(saveAdapters(dir, model, { baseModelNameOrPath: path }));
await write(dir, { base: path, adapters: names }, right(setActiveAdapters(model, names)), 40);
const mixed = right(combineAdapters(model, 'mixed', { default: 0.7, other: -0.4 }));
const one = right(onlyAdapter(mixed, 'mixed'));
const combined = join(out, 'combined');
await mkdir(combined, { recursive: true });
await orThrow(saveModel(combined, one, { baseModelNameOrPath: path }));
await write(combined, { base: path }, one, 40);
