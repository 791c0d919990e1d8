/** Which models llama.cpp can run. */
import * as E from 'fp-ts/lib/Either.js';
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { expectedTensors } from '../architectures.js';
import type { ModelConfig } from '../config.js';
import type { Weights } from '../layers/layer.js';
import { headSpec } from '../weights.js';
import type { TensorSpec } from '../weights.js';
import { apertusLayout } from './apertus.js';
import { bloomLayout, mptLayout } from './alibi.js';
import { bambaLayout, falconH1Layout } from './falconH1.js';
import { gpt2Layout, gptBigcodeLayout } from './gpt2.js';
import { graniteLayout, graniteMoeLayout } from './granite.js';
import { lfm2Layout, lfm2MoeLayout, qwen35Layout, qwen35MoeLayout, qwen3NextLayout } from './hybrid.js';
import { deepseekLayout, minicpm3Layout, mistral4Layout, youtuLayout } from './latent.js';
import type { GgufLayout, LayoutOf } from './layout.js';
import { llama4Layout } from './llama4.js';
import {
  arceeLayout,
  cohereLayout,
  ernieLayout,
  gemma2Layout,
  gemma3Layout,
  gemmaLayout,
  glm4Layout,
  glmLayout,
  heliumLayout,
  hunyuanLayout,
  jais2Layout,
  nemotronLayout,
  olmo2Layout,
  olmoLayout,
  phi3Layout,
  seedOssLayout,
} from './llamaLike.js';
import { jambaLayout } from './jamba.js';
import { mambaLayout } from './mamba.js';
import { mamba2Layout } from './mamba2.js';
import {
  dots1Layout,
  ernieMoeLayout,
  glm4MoeLayout,
  gptOssLayout,
  hunyuanMoeLayout,
  hunyuanV3Layout,
  minimaxM2Layout,
  mixtralLayout,
  olmoeLayout,
  qwen2MoeLayout,
  qwen3MoeLayout,
} from './mixture.js';
import { museGlimmerLayout } from './museGlimmer.js';
import { nemotronHLayout } from './nemotronH.js';
import { falconLayout, gptNeoxLayout, stableLmLayout, starcoder2Layout } from './neoxLike.js';
import { phiLayout } from './phi.js';
import { llamaOrQwenVlLayout, qwen3VlMoeLayout } from './qwenVl.js';
import { gemma3nLayout, gemma4Layout } from './sharedKeys.js';
import { cohere2Layout, exaone4Layout, olmo3Layout } from './sliding.js';
import { afmoeLayout, exaoneMoeLayout, mellumLayout } from './slidingMixture.js';
import { cohere2MoeLayout, graniteSwaLayout, lagunaLayout, mimoLayout } from './toldWindows.js';

type Layout = (config: ModelConfig, specs: ReadonlyArray<TensorSpec>) => E.Either<FatalError, GgufLayout>;

/** The layout of an architecture's own configurations. */
const closed =
  <C extends ModelConfig>(architecture: string, layout: LayoutOf<C>): Layout =>
  (config, specs) => {
    // Only an architecture's own codec writes its name into a configuration.
    const isOwn = (of: ModelConfig): of is C => of.architecture === architecture;
    if (!isOwn(config)) throw new TypeError(`not a configuration of ${architecture}: ${config.architecture}`);
    return layout(config, specs);
  };

const layouts: Readonly<Record<string, Layout>> = {
  llama: closed('llama', llamaOrQwenVlLayout),
  llama4: closed('llama4', llama4Layout),
  gemma: closed('gemma', gemmaLayout),
  gemma2: closed('gemma2', gemma2Layout),
  gemma3: closed('gemma3', gemma3Layout),
  gemma3n: closed('gemma3n', gemma3nLayout),
  gemma4: closed('gemma4', gemma4Layout),
  gpt2: closed('gpt2', gpt2Layout),
  phi: closed('phi', phiLayout),
  phi3: closed('phi3', phi3Layout),
  olmo: closed('olmo', olmoLayout),
  olmo2: closed('olmo2', olmo2Layout),
  granite: closed('granite', graniteLayout),
  granitemoehybrid: closed('granitemoehybrid', graniteMoeLayout),
  helium: closed('helium', heliumLayout),
  cohere: closed('cohere', cohereLayout),
  starcoder2: closed('starcoder2', starcoder2Layout),
  stablelm: closed('stablelm', stableLmLayout),
  gpt_neox: closed('gpt_neox', gptNeoxLayout),
  falcon: closed('falcon', falconLayout),
  falcon_h1: closed('falcon_h1', falconH1Layout),
  bamba: closed('bamba', bambaLayout),
  apertus: closed('apertus', apertusLayout),
  mixtral: closed('mixtral', mixtralLayout),
  qwen2_moe: closed('qwen2_moe', qwen2MoeLayout),
  qwen3_moe: closed('qwen3_moe', qwen3MoeLayout),
  qwen3_vl_moe: closed('qwen3_vl_moe', qwen3VlMoeLayout),
  olmoe: closed('olmoe', olmoeLayout),
  arcee: closed('arcee', arceeLayout),
  nemotron: closed('nemotron', nemotronLayout),
  nemotron_h: closed('nemotron_h', nemotronHLayout),
  jais2: closed('jais2', jais2Layout),
  ernie4_5: closed('ernie4_5', ernieLayout),
  seed_oss: closed('seed_oss', seedOssLayout),
  hunyuan_v1_dense: closed('hunyuan_v1_dense', hunyuanLayout),
  glm: closed('glm', glmLayout),
  glm4: closed('glm4', glm4Layout),
  minimax_m2: closed('minimax_m2', minimaxM2Layout),
  exaone_moe: closed('exaone_moe', exaoneMoeLayout),
  afmoe: closed('afmoe', afmoeLayout),
  mellum: closed('mellum', mellumLayout),
  muse_glimmer: closed('muse_glimmer', museGlimmerLayout),
  hy_v3: closed('hy_v3', hunyuanV3Layout),
  granite_swa: closed('granite_swa', graniteSwaLayout),
  cohere2_moe: closed('cohere2_moe', cohere2MoeLayout),
  laguna: closed('laguna', lagunaLayout),
  mimo_v2_flash: closed('mimo_v2_flash', mimoLayout),
  solar_open: closed('solar_open', glm4MoeLayout),
  cohere2: closed('cohere2', cohere2Layout),
  exaone4: closed('exaone4', exaone4Layout),
  olmo3: closed('olmo3', olmo3Layout),
  bloom: closed('bloom', bloomLayout),
  jamba: closed('jamba', jambaLayout),
  mamba: closed('mamba', mambaLayout),
  falcon_mamba: closed('falcon_mamba', mambaLayout),
  mamba2: closed('mamba2', mamba2Layout),
  mpt: closed('mpt', mptLayout),
  gpt_bigcode: closed('gpt_bigcode', gptBigcodeLayout),
  gpt_oss: closed('gpt_oss', gptOssLayout),
  deepseek_v2: closed('deepseek_v2', deepseekLayout),
  deepseek_v3: closed('deepseek_v3', deepseekLayout),
  glm4_moe_lite: closed('glm4_moe_lite', deepseekLayout),
  mistral4: closed('mistral4', mistral4Layout),
  youtu: closed('youtu', youtuLayout),
  minicpm3: closed('minicpm3', minicpm3Layout),
  dots1: closed('dots1', dots1Layout),
  glm4_moe: closed('glm4_moe', glm4MoeLayout),
  ernie4_5_moe: closed('ernie4_5_moe', ernieMoeLayout),
  hunyuan_v1_moe: closed('hunyuan_v1_moe', hunyuanMoeLayout),
  lfm2: closed('lfm2', lfm2Layout),
  lfm2_moe: closed('lfm2_moe', lfm2MoeLayout),
  qwen3_5: closed('qwen3_5', qwen35Layout),
  qwen3_5_moe: closed('qwen3_5_moe', qwen35MoeLayout),
  qwen3_next: closed('qwen3_next', qwen3NextLayout),
};

/** Types of text models whose architectures bear the name of the whole. */
const textTypes: Readonly<Record<string, string>> = {
  gemma3: 'gemma3_text',
  llama4: 'llama4_text',
  gemma3n: 'gemma3n_text',
  gemma4: 'gemma4_text',
  qwen3_5: 'qwen3_5_text',
  qwen3_5_moe: 'qwen3_5_moe_text',
};

/** Model types that can be written as GGUF. */
export const ggufModelTypes: ReadonlyArray<string> = [
  ...Object.keys(layouts).map((architecture) => textTypes[architecture] ?? architecture),
  // Of Llama's architecture.
  'mistral',
  'ministral3',
  'qwen2',
  'qwen3',
  'smollm3',
  'granitemoe',
  'granitemoeshared',
  // Their text models.
  'gemma3',
  'gemma3n',
  'gemma4',
  'gemma4_unified',
  'gemma4_unified_text',
  'qwen3_5',
  'qwen3_5_moe',
  'llama4',
  'exaone4_5',
  'qwen2_vl',
  'qwen2_5_vl',
  'qwen3_vl',
  'lfm2_vl',
  'mistral3',
  'llava',
  'llava_next',
  'llava_next_video',
  'llava_onevision',
  'video_llava',
  'vipllava',
  'idefics2',
  'idefics3',
  'smolvlm',
  'internvl',
  'ovis2',
  'aya_vision',
  'cohere2_vision',
  'granite4_vision',
  'deepseek_vl',
  'video_llama_3',
  'minicpmv4_6',
  'glm4v',
  'glm46v',
  'glm4v_moe',
];

/** The model in llama.cpp's terms. `E_GGUF_UNSUPPORTED` for an architecture or a setting that it does not run. */
export const ggufLayout = (config: ModelConfig, weights: Weights): E.Either<FatalError, GgufLayout> => {
  const specs = expectedTensors(config);
  // Training may have parted a tied head from the embedding.
  const parted = 'lm_head.weight' in weights && !specs.some(({ name }) => name === 'lm_head.weight');
  const { vocabSize, embeddingSize, hiddenSize } = config;
  const all = parted ? [...specs, ...headSpec(false, vocabSize, embeddingSize ?? hiddenSize)] : specs;
  const layout = layouts[config.architecture];
  if (layout !== undefined) return layout(config, all);
  return E.left(
    fatal('E_GGUF_UNSUPPORTED', `models of type "${config.modelType}" are not written as GGUF`, {
      field: 'model_type',
      expected: `one of ${ggufModelTypes.join(', ')}`,
      actual: config.modelType,
    }),
  );
};
