/** Which architecture runs which model type, and how a checkpoint's tensors fit one. */
import type { Tensor } from '@tensorflow/tfjs-core';
import * as E from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import * as t from 'io-ts';
import type { FatalError } from '../errors.js';
import { nearestFew } from '../nearest.js';
import { fatal } from '../errors.js';
import type { Architecture, FileLayout, JoinedTensor, TokenTables } from './architecture.js';
import { afmoe } from './architectures/afmoe.js';
import { apertus } from './architectures/apertus.js';
import { arcee } from './architectures/arcee.js';
import { aria } from './architectures/aria.js';
import { axk1 } from './architectures/axk1.js';
import { biogpt } from './architectures/biogpt.js';
import { bloom } from './architectures/bloom.js';
import { codegen } from './architectures/codegen.js';
import { cohere, cohere2 } from './architectures/cohere.js';
import { cohere2Moe } from './architectures/cohereMoe.js';
import { deepseekV2, deepseekV3 } from './architectures/deepseek.js';
import { doge } from './architectures/doge.js';
import { dots1 } from './architectures/dots.js';
import { ernie } from './architectures/ernie.js';
import { ernieMoe } from './architectures/ernieMoe.js';
import { exaone4 } from './architectures/exaone4.js';
import { exaoneMoe } from './architectures/exaoneMoe.js';
import { falcon } from './architectures/falcon.js';
import { bamba, falconH1 } from './architectures/falconH1.js';
import { flexOlmo } from './architectures/flexOlmo.js';
import { gemma } from './architectures/gemma.js';
import { gemma2 } from './architectures/gemma2.js';
import { gemma3 } from './architectures/gemma3.js';
import { gemma3n } from './architectures/gemma3n.js';
import { gemma4 } from './architectures/gemma4.js';
import { glm, glm4 } from './architectures/glm.js';
import { glm4Moe, glm4MoeLite } from './architectures/glmMoe.js';
import { gpt2 } from './architectures/gpt2.js';
import { gptBigcode } from './architectures/gptBigcode.js';
import { gptj } from './architectures/gptj.js';
import { gptNeo } from './architectures/gptNeo.js';
import { gptNeox } from './architectures/gptNeox.js';
import { gptOss } from './architectures/gptOss.js';
import { granite, graniteTextTypes, hyperClovaX } from './architectures/granite.js';
import { graniteMoe, graniteMoeSwa } from './architectures/graniteMoe.js';
import { graniteSwa } from './architectures/graniteSwa.js';
import { helium } from './architectures/helium.js';
import { hunyuan } from './architectures/hunyuan.js';
import { hunyuanMoe } from './architectures/hunyuanMoe.js';
import { hunyuanV3 } from './architectures/hunyuanV3.js';
import { jamba } from './architectures/jamba.js';
import { laguna } from './architectures/laguna.js';
import { lfm2 } from './architectures/lfm2.js';
import { lfm2Moe } from './architectures/lfm2Moe.js';
import { llama, llamaTextTypes } from './architectures/llama.js';
import { llama4 } from './architectures/llama4.js';
import { falconMamba, mamba } from './architectures/mamba.js';
import { mamba2 } from './architectures/mamba2.js';
import { mellum } from './architectures/mellum.js';
import { mimoV2Flash } from './architectures/mimoV2Flash.js';
import { minicpm3 } from './architectures/minicpm3.js';
import { minimaxM2 } from './architectures/minimaxM2.js';
import { mistral4 } from './architectures/mistral4.js';
import { mixtral } from './architectures/mixtral.js';
import { mllama } from './architectures/mllama.js';
import { mpt } from './architectures/mpt.js';
import { museGlimmer } from './architectures/museGlimmer.js';
import { nanochat } from './architectures/nanochat.js';
import { jais2, nemotron } from './architectures/nemotron.js';
import { nemotronH } from './architectures/nemotronH.js';
import { olmo } from './architectures/olmo.js';
import { olmo2, olmo3 } from './architectures/olmo2.js';
import { olmoe } from './architectures/olmoe.js';
import { olmoHybrid } from './architectures/olmoHybrid.js';
import { opt } from './architectures/opt.js';
import { persimmon } from './architectures/persimmon.js';
import { phi } from './architectures/phi.js';
import { phi3 } from './architectures/phi3.js';
import { phiMoe } from './architectures/phiMoe.js';
import { qwen35 } from './architectures/qwen35.js';
import { qwen35Moe, qwen3Next } from './architectures/qwen3Next.js';
import { qwen2Moe, qwen3Moe, qwen3VlMoe } from './architectures/qwenMoe.js';
import { seedOss } from './architectures/seedOss.js';
import { solarOpen } from './architectures/solarOpen.js';
import { stablelm } from './architectures/stablelm.js';
import { starcoder2 } from './architectures/starcoder2.js';
import { vaultGemma } from './architectures/vaultgemma.js';
import { xglm } from './architectures/xglm.js';
import { youtu } from './architectures/youtu.js';
import { decodeFields, unfit } from './config.js';
import type { ModelConfig, RawConfig } from './config.js';
import { imageTextConfig, imageTextTypes } from './imageText.js';
import type { Layer } from './layers/layer.js';
import type { Pass } from './pass.js';
import type { Sequence } from './sequence.js';
import type { TensorSpec } from './weights.js';

/** An architecture whose configuration type has been closed over. */
interface Registered {
  readonly modelTypes: ReadonlyArray<string>;
  readonly textTypes: ReadonlyArray<string>;
  readonly config: (raw: RawConfig, modelType: string) => E.Either<FatalError, ModelConfig>;
  readonly of: (config: ModelConfig) => BoundArchitecture;
}

/** An architecture at one configuration. */
export interface BoundArchitecture {
  readonly tensors: ReadonlyArray<TensorSpec>;
  readonly basePrefix: string;
  readonly storedHead: string;
  readonly packed: ReadonlyArray<JoinedTensor>;
  readonly fileLayout: FileLayout | undefined;
  readonly buffers: RegExp | undefined;
  readonly leavesOut: RegExp | undefined;
  readonly embedding: string;
  readonly tokenTables: TokenTables | undefined;
  readonly body: (pass: Pass) => Layer<Sequence, Tensor>;
  readonly narrows: boolean;
  readonly tail: (pass: Pass) => Layer<Tensor, Tensor>;
  readonly turnsOtherwiseBeyond: number | undefined;
  readonly loraTargets: ReadonlyArray<string>;
}

const registry = new Map<string, Registered>();

const closedOver = <C extends ModelConfig>(architecture: Architecture<C>): Registered => {
  // Only this architecture's codec writes its name into a configuration.
  const isOwn = (config: ModelConfig): config is C => config.architecture === architecture.name;
  // Every pass asks, and a model of many experts has tens of thousands of tensors.
  const bound = new WeakMap<ModelConfig, BoundArchitecture>();
  const bind = (config: C): BoundArchitecture => ({
    tensors: architecture.tensors(config),
    basePrefix: architecture.basePrefix,
    storedHead: architecture.storedHead ?? 'lm_head',
    packed: architecture.packed?.(config) ?? [],
    fileLayout: architecture.fileLayout?.(config),
    buffers: architecture.buffers,
    leavesOut: architecture.leavesOut?.(config),
    embedding: architecture.embedding,
    tokenTables: architecture.tokenTables?.(config),
    body: (pass) => architecture.body(config, pass),
    narrows: architecture.narrows ?? false,
    tail: (pass) => architecture.tail(config, pass),
    turnsOtherwiseBeyond: architecture.turnsOtherwiseBeyond?.(config),
    loraTargets: architecture.loraTargets(config),
  });
  return {
    modelTypes: architecture.modelTypes,
    textTypes: architecture.textTypes ?? [],
    config: architecture.config,
    of: (config) => {
      if (!isOwn(config)) throw new TypeError(`not a configuration of ${architecture.name}: ${config.architecture}`);
      const known = bound.get(config) ?? bind(config);
      bound.set(config, known);
      return known;
    },
  };
};

/** Makes an architecture known under its name; a later one of the same name or model type takes its place. */
export const registerArchitecture = <C extends ModelConfig>(architecture: Architecture<C>): void => {
  registry.set(architecture.name, closedOver(architecture));
};

registerArchitecture({ ...llama, textTypes: llamaTextTypes });
registerArchitecture(gpt2);
registerArchitecture(opt);
registerArchitecture(gptNeo);
registerArchitecture(gemma);
registerArchitecture(gemma2);
registerArchitecture(gemma3);
registerArchitecture(phi);
registerArchitecture(phi3);
registerArchitecture(olmo);
registerArchitecture(olmo2);
registerArchitecture(olmo3);
registerArchitecture({ ...granite, textTypes: graniteTextTypes });
registerArchitecture(helium);
registerArchitecture(cohere);
registerArchitecture(cohere2);
registerArchitecture(glm);
registerArchitecture(glm4);
registerArchitecture(exaone4);
registerArchitecture(ernie);
registerArchitecture(seedOss);
registerArchitecture(hunyuan);
registerArchitecture(starcoder2);
registerArchitecture(stablelm);
registerArchitecture(gptNeox);
registerArchitecture(falcon);
registerArchitecture(bloom);
registerArchitecture(gptj);
registerArchitecture(mixtral);
registerArchitecture(qwen2Moe);
registerArchitecture(qwen3Moe);
registerArchitecture(qwen3VlMoe);
registerArchitecture(olmoe);
registerArchitecture(gptOss);
registerArchitecture(qwen35);
registerArchitecture(qwen3Next);
registerArchitecture(qwen35Moe);
registerArchitecture(lfm2);
registerArchitecture(lfm2Moe);
registerArchitecture(graniteMoe);
registerArchitecture(falconH1);
registerArchitecture(bamba);
registerArchitecture(arcee);
registerArchitecture(nemotron);
registerArchitecture(jais2);
registerArchitecture(nanochat);
registerArchitecture(hyperClovaX);
registerArchitecture(graniteSwa);
registerArchitecture(gptBigcode);
registerArchitecture(mpt);
registerArchitecture(deepseekV2);
registerArchitecture(deepseekV3);
registerArchitecture(glm4Moe);
registerArchitecture(glm4MoeLite);
registerArchitecture(dots1);
registerArchitecture(ernieMoe);
registerArchitecture(hunyuanMoe);
registerArchitecture(minicpm3);
registerArchitecture(youtu);
registerArchitecture(apertus);
registerArchitecture(mllama);
registerArchitecture(gemma4);
registerArchitecture(gemma3n);
registerArchitecture(vaultGemma);
registerArchitecture(mistral4);
registerArchitecture(llama4);
registerArchitecture(nemotronH);
registerArchitecture(mamba2);
registerArchitecture(phiMoe);
registerArchitecture(olmoHybrid);
registerArchitecture(minimaxM2);
registerArchitecture(solarOpen);
registerArchitecture(afmoe);
registerArchitecture(exaoneMoe);
registerArchitecture(flexOlmo);
registerArchitecture(mellum);
registerArchitecture(hunyuanV3);
registerArchitecture(cohere2Moe);
registerArchitecture(graniteMoeSwa);
registerArchitecture(mimoV2Flash);
registerArchitecture(axk1);
registerArchitecture(laguna);
registerArchitecture(codegen);
registerArchitecture(xglm);
registerArchitecture(persimmon);
registerArchitecture(biogpt);
registerArchitecture(museGlimmer);
registerArchitecture(doge);
registerArchitecture(aria);
registerArchitecture(mamba);
registerArchitecture(falconMamba);
registerArchitecture(jamba);

/** Model types that can be read. */
export const knownModelTypes = (): ReadonlyArray<string> => [
  ...new Set([...[...registry.values()].flatMap(({ modelTypes }) => modelTypes), ...imageTextTypes]),
];

/** A text model within a checkpoint that holds more; its names must be those that such checkpoints have. */
const textPart = (text: RawConfig): E.Either<FatalError, ModelConfig> =>
  pipe(
    modelConfig(text),
    E.filterOrElse(
      (config) => config.within === undefined && architectureOf(config).embedding === 'model.embed_tokens',
      ({ modelType }) => unfit('text_config.model_type', 'a text model like Llama', modelType),
    ),
  );

/** The model types that may have been meant. */
const likeTypes = (modelType: string): string => {
  const near = nearestFew(modelType, knownModelTypes(), 4);
  return near.length === 0 ? '' : `near it are ${near.join(', ')}; `;
};

/**
 * A config.json as a model's configuration. `E_UNKNOWN_ARCHITECTURE` names the model types nearest to it; `E_MODEL_CONFIG` the field
 * that is missing or wrong.
 */
export const modelConfig = (raw: unknown): E.Either<FatalError, ModelConfig> =>
  pipe(
    decodeFields(t.intersection([t.type({ model_type: t.string }), t.UnknownRecord]))(raw),
    E.flatMap((fields) => {
      const modelType = fields.model_type;
      const found = [...registry.values()]
        .reverse()
        .find(({ modelTypes, textTypes }) => [...modelTypes, ...textTypes].includes(modelType));
      if (found !== undefined) return found.config(fields, modelType);
      const whole = imageTextConfig(fields, modelType, textPart);
      if (whole !== undefined) return whole;
      return E.left(
        fatal('E_UNKNOWN_ARCHITECTURE', `no architecture is known for model type "${modelType}"`, {
          field: 'model_type',
          expected: 'a model type; docs/models.md lists all',
          actual: modelType,
          hint: `${likeTypes(modelType)}registerArchitecture adds one of your own`,
        }),
      );
    }),
  );

/** What runs the configuration. */
export const architectureOf = (config: ModelConfig): BoundArchitecture => {
  const found = registry.get(config.architecture);
  if (found === undefined) throw new TypeError(`no architecture "${config.architecture}" is registered`);
  return found.of(config);
};

/** Every tensor that a checkpoint of the configuration holds, under the names that transformers saves. */
export const expectedTensors = (config: ModelConfig): ReadonlyArray<TensorSpec> => architectureOf(config).tensors;

/** Names of the tensors that no gradient moves: buffers that are saved with the weights. */
export const bufferNames = (config: ModelConfig): ReadonlySet<string> =>
  new Set(expectedTensors(config).flatMap(({ name, kind }) => (kind === 'buffer' ? [name] : [])));

/** What files call a tensor of the model: its head has another name in some. */
export const storedName = (config: ModelConfig, name: string): string =>
  name.replace(/^lm_head(?=\.)/, architectureOf(config).storedHead);

/** How the tensors of a file are called here. */
export interface TensorMatch {
  readonly tensors: ReadonlyArray<{ readonly stored: string; readonly name: string }>;
  /** Stored tensors that the model has no use for, known buffers left out. */
  readonly unexpected: ReadonlyArray<string>;
}

const shapeText = (shape: ReadonlyArray<number>): string => `[${shape.join(', ')}]`;

/**
 * Finds every tensor of the model among those stored, whether or not their names begin with the base prefix.
 * `E_WEIGHTS_MISSING`, `E_WEIGHTS_SHAPE`.
 */
export const matchTensors = (
  config: ModelConfig,
  stored: ReadonlyArray<{ readonly name: string; readonly shape: ReadonlyArray<number> }>,
): E.Either<FatalError, TensorMatch> => {
  const { tensors, basePrefix, storedHead, buffers } = architectureOf(config);
  const byName = new Map(tensors.map((spec) => [spec.name, spec]));
  const canonical = (stored: string): string => {
    const name = stored.startsWith(`${storedHead}.`) ? stored.replace(storedHead, 'lm_head') : stored;
    return byName.has(name) ? name : `${basePrefix}${name}`;
  };
  const matched = stored.filter(({ name }) => byName.has(canonical(name)));
  const found = new Set(matched.map(({ name }) => canonical(name)));
  const missing = tensors.filter(({ name }) => !found.has(name));
  const [firstMissing] = missing;
  if (firstMissing !== undefined) {
    return E.left(
      fatal('E_WEIGHTS_MISSING', `the checkpoint lacks ${missing.length} of ${tensors.length} tensors`, {
        expected: `${firstMissing.name} ${shapeText(firstMissing.shape)}${missing.length > 1 ? ', …' : ''}`,
        actual: `${stored.length} tensors, ${stored
          .slice(0, 3)
          .map(({ name }) => name)
          .join(', ')}, …`,
      }),
    );
  }
  const wrong = matched.find(
    ({ name, shape }) => shapeText(shape) !== shapeText(byName.get(canonical(name))?.shape ?? []),
  );
  if (wrong !== undefined) {
    return E.left(
      fatal('E_WEIGHTS_SHAPE', `tensor "${wrong.name}" does not fit config.json`, {
        expected: shapeText(byName.get(canonical(wrong.name))?.shape ?? []),
        actual: shapeText(wrong.shape),
      }),
    );
  }
  const isTiedHead = (name: string): boolean =>
    config.tieWordEmbeddings && (name === 'lm_head.weight' || name === `${storedHead}.weight`);
  return E.right({
    tensors: matched.map(({ name }) => ({ stored: name, name: canonical(name) })),
    unexpected: stored
      .map(({ name }) => name)
      .filter((name) => !byName.has(canonical(name)) && buffers?.test(name) !== true && !isTiedHead(name)),
  });
};
