/** Models and checkpoints on disk: what other software opens, and what this run goes on from. */
import { join } from 'node:path';
import type { Tensor } from '@tensorflow/tfjs-core';
import { pipe } from 'fp-ts/lib/function.js';
import * as A from 'fp-ts/lib/ReadonlyArray.js';
import * as TE from 'fp-ts/lib/TaskEither.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { besideLoaded, checked } from '../../checked.js';
import type { OptionNames } from '../../checked.js';
import { usage } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { writeAdapter } from '../../formats/checkpoints/adapterFiles.js';
import type { AdapterConfig } from '../../formats/checkpoints/adapterConfig.js';
import { rotateCheckpoints, writeCheckpoint } from '../../formats/checkpoints/checkpoint.js';
import { optimizerFile, trainerStateFile } from '../../formats/checkpoints/checkpointFiles.js';
import { generationConfigFile } from '../../formats/checkpoints/generationConfig.js';
import { writeTextAtomically } from '../../formats/files/atomicFile.js';
import { writeInto } from '../../formats/files/directory.js';
import { writeJson } from '../../formats/json/json.js';
import { withNumbersOf } from '../../formats/json/writtenNumbers.js';
import { writeSafetensors } from '../../formats/tensors/safetensors.js';
import type { TensorToWrite } from '../../formats/tensors/safetensors.js';
import { writeCheckpointTensors } from '../../formats/tensors/shards.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { adapterTensors } from '../../model/adapters/savedAdapter.js';
import { listAdapters, onlyAdapter } from '../../model/adapters/adapters.js';
import { adaptersIn, isAdapterName } from '../../model/adapters/adapterNames.js';
import { moduleOf } from '../../model/adapters/moduleNames.js';
import type { LoraConfig } from '../../model/adapters/lora.js';
import { architectureOf, storedName, expectedTensors } from '../../model/architectures.js';
import type { CausalLM } from '../../model/model.js';
import type { ModelConfig, RawConfig } from '../../model/config.js';
import { endInside, inText, nameInLayout, nameOutside } from '../../model/imageText.js';
import type { Weights } from '../../model/layers/layer.js';
import { quantizedTensors } from '../../model/quantize/bitsandbytes.js';
import { encodeQuantization, isGptq } from '../../model/quantize/config.js';
import { gptqCodes } from '../../model/quantize/gptq.js';
import type { GptqFormat } from '../../model/quantize/gptqConfig.js';
import { gptqTensors } from '../../model/quantize/gptqFiles.js';
import { matrixOf } from '../../model/quantize/matrix.js';
import type { Run } from '../run/run.js';
import { convertedOptions, convertedTensors } from './convertedAdapter.js';
import { toWrite } from './toWrite.js';
import { encodeTrainerState } from './trainerState.js';
import { copyProcessor, othersToWrite, wholeFault } from './wholeCheckpoint.js';

const bytesOf = async (tensor: Tensor): Promise<Uint8Array> => {
  const { buffer, byteOffset, byteLength } = await tensor.data<'int32'>();
  return new Uint8Array(buffer, byteOffset, byteLength);
};

/** Moments under `slot.parameter`; codes of 8 bits as bytes. */
const momentsToWrite = (moments: Readonly<Record<string, Weights>>): ReadonlyArray<TensorToWrite> =>
  Object.entries(moments).flatMap(([slot, tensors]) =>
    Object.entries(tensors).flatMap(([parameter, moment]): ReadonlyArray<TensorToWrite> => {
      const name = `${slot}.${parameter}`;
      return moment.dtype === 'int32'
        ? [{ name, dtype: 'U8', shape: [4 * moment.size], data: () => bytesOf(moment) }]
        : toWrite({ [name]: moment });
    }),
  );

export const writeTokenizer = (dir: string, tokenizer: Tokenizer | undefined): TaskEither<FatalError, void> =>
  pipe(
    Object.entries(tokenizer?.files ?? {}),
    A.traverse(TE.ApplicativeSeq)(([name, text]) => writeTextAtomically(join(dir, name), text)),
    TE.map(() => undefined),
  );

const lastName = (module: string): string => module.slice(module.lastIndexOf('.') + 1);

/** A merged model may still hold the adapter it was merged with; a plain model's file has no place for it. */
const withoutAdapter = (weights: Weights): Weights =>
  Object.fromEntries(Object.entries(weights).filter(([name]) => !isAdapterName(name)));

/** The options as they are for the whole: patterns name the same there, and of what chooses among modules only the chosen are left. */
const forWhole = (
  config: ModelConfig,
  { excludeModules: _excluded, layersToTransform: _to, layersPattern: _pattern, ...options }: LoraConfig,
): LoraConfig => {
  const keyed = (patterns: Readonly<Record<string, number>>): Readonly<Record<string, number>> =>
    Object.fromEntries(Object.entries(patterns).map(([name, value]) => [endInside(config, name), value]));
  return { ...options, rankPattern: keyed(options.rankPattern), alphaPattern: keyed(options.alphaPattern) };
};

/** The adapter as PEFT describes it. The modules it sits on are named even where they were the default. */
const adapterConfigOf = (model: CausalLM, baseModelNameOrPath: string | undefined): AdapterConfig | undefined => {
  const { lora, weights } = model;
  if (lora === undefined) return undefined;
  const modules = adaptersIn(weights).flatMap(({ module, further }) => (further === undefined ? [module] : []));
  const options = model.taken === undefined ? lora : convertedOptions(lora);
  const conv1d = new Set(expectedTensors(model.config).flatMap(({ name, kind }) => (kind === 'conv1d' ? [name] : [])));
  return {
    lora: {
      ...(model.config.within === undefined ? options : forWhole(model.config, options)),
      // A quantised weight lies outputs first, Conv1D or not.
      fanInFanOut: modules.some((module) => {
        const name = `${module}.weight`;
        return conv1d.has(name) && model.quantized?.scales[name] === undefined;
      }),
      targetModules:
        model.config.within === undefined
          ? (lora.targetModules ?? [...new Set(modules.map(lastName))])
          : // Names alone would be those of maps among the other parts too, to PEFT.
            modules.map((module) => nameOutside(model.config, module)),
    },
    taskType: 'CAUSAL_LM',
    ...(baseModelNameOrPath === undefined ? {} : { baseModelNameOrPath }),
  };
};

/** The part of a text model within a whole says its numbers once more. */
const asFloat32 = (text: RawConfig): RawConfig =>
  withNumbersOf(text, {
    ...text,
    ...('torch_dtype' in text ? { torch_dtype: 'float32' } : {}),
    ...('dtype' in text ? { dtype: 'float32' } : {}),
  });

/** config.json as the weights are written: float32, but for those that are quantised. */
const configOf = ({ config, quantized }: CausalLM): Readonly<Record<string, unknown>> => {
  const { quantization_config: _replaced, ...raw } = inText(config.raw, asFloat32);
  return withNumbersOf(config.raw, {
    ...raw,
    torch_dtype: 'float32',
    ...(quantized === undefined ? {} : { quantization_config: encodeQuantization(quantized.config) }),
  });
};

const formatOf = ({ quantized }: CausalLM): GptqFormat =>
  quantized !== undefined && isGptq(quantized.config) ? quantized.config.format : 'gptq';

/** A plain model's tensors; quantised weights in the parts that bitsandbytes, or readers of GPTQ, take. */
const weightsToWrite = (model: CausalLM): ReadonlyArray<TensorToWrite> => {
  const plain = withoutAdapter(model.weights);
  const tensors = Object.entries(plain).flatMap(([name, weight]) => {
    const scales = model.quantized?.scales[name];
    if (scales === undefined) return toWrite({ [name]: weight });
    const values = (): Float32Array => weight.dataSync<'float32'>();
    return scales.kind === 'gptq'
      ? gptqTensors(moduleOf(name), scales, () => gptqCodes(values(), scales), formatOf(model))
      : quantizedTensors(name, scales, () => matrixOf(scales, values()).codes);
  });
  const { config, whole } = model;
  const laidOut = architectureOf(config).fileLayout?.write(tensors) ?? tensors;
  return laidOut.map((tensor) => ({
    ...tensor,
    name: whole === undefined ? storedName(config, tensor.name) : nameInLayout(whole.layout, tensor.name),
  }));
};

/** What is written beside the weights. */
export interface SaveOptions {
  /** Its files are written, too. */
  readonly tokenizer?: Tokenizer | undefined;
  /** Where an adapter's base model lies, for who loads the adapter. */
  readonly baseModelNameOrPath?: string | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const saveOptionNames: OptionNames<SaveOptions> = { tokenizer: 'optional', baseModelNameOrPath: 'optional' };

const adapterToWrite = (model: CausalLM): ReadonlyArray<TensorToWrite> => {
  const tensors = adapterTensors(model);
  const all = model.taken === undefined ? toWrite(tensors) : convertedTensors(model, tensors, model.taken);
  return all.map((tensor) => ({ ...tensor, name: nameOutside(model.config, tensor.name) }));
};

/** An adapter's directory holds one: where several train together, none of them is left out silently. */
const trainTogether = ({ adapters, trainable }: CausalLM): FatalError | undefined => {
  const others = new Set(
    adaptersIn(Object.fromEntries(trainable.map((name) => [name, true]))).map((site) => site.further),
  );
  return adapters === undefined || others.size < 2
    ? undefined
    : usage('E_LORA_ACTIVE', `several adapters train together: ${adapters.active.join(', ')}`, {
        hint: 'make one active (setActiveAdapters) or let one train (training); saveAdapters writes them all',
      });
};

/** Weights and configuration (an adapter's alone, where there is one) and tokenizer files, into a directory that is there. */
const writeModel = (
  dir: string,
  model: CausalLM,
  { tokenizer, baseModelNameOrPath }: SaveOptions,
): TaskEither<FatalError, void> => {
  const several = trainTogether(model);
  if (several !== undefined) return TE.left(several);
  const adapter = adapterConfigOf(model, baseModelNameOrPath);
  const fault = adapter === undefined ? wholeFault(model, model.quantized !== undefined) : undefined;
  if (fault !== undefined) return TE.left(fault);
  const weights =
    adapter === undefined
      ? pipe(
          writeJson(join(dir, 'config.json'), configOf(model)),
          TE.flatMap(() =>
            model.generationConfig === undefined
              ? TE.right(undefined)
              : writeJson(join(dir, generationConfigFile), model.generationConfig),
          ),
          TE.flatMap(() => (model.whole === undefined ? TE.right([]) : othersToWrite(model.whole))),
          TE.flatMap((others) => writeCheckpointTensors(dir, [...weightsToWrite(model), ...others])),
          TE.flatMap(() => (model.whole === undefined ? TE.right(undefined) : copyProcessor(model.whole, dir))),
        )
      : writeAdapter(dir, { config: adapter, tensors: adapterToWrite(model) });
  return pipe(
    weights,
    TE.flatMap(() => writeTokenizer(dir, tokenizer)),
  );
};

/**
 * Writes what transformers (or, for an adapter, PEFT) opens: config.json, generation_config.json where the model came with one, and
 * model.safetensors, or the adapter's two files, and the tokenizer's. Other files of the directory stay;
 * each of these appears whole, and none if one cannot be written. Resolves to the names of the files written.
 */
export const saveModel = checked(
  'saveModel',
  TE.left,
  { 2: { ...besideLoaded, ...saveOptionNames } },
  (dir: string, model: CausalLM, options: SaveOptions = {}): TaskEither<FatalError, ReadonlyArray<string>> =>
    writeInto(dir, (temporary) => writeModel(temporary, model, options)),
);

/**
 * Writes every adapter of a model, in use or not, as PEFT lays out several: the one called `default` into `dir`, each other one into a
 * folder of its name. Resolves to the names of the files written, as paths within `dir`.
 */
export const saveAdapters = checked(
  'saveAdapters',
  TE.left,
  { 2: { ...besideLoaded, ...saveOptionNames } },
  (dir: string, model: CausalLM, options: SaveOptions = {}): TaskEither<FatalError, ReadonlyArray<string>> =>
    pipe(
      listAdapters(model),
      TE.traverseSeqArray(({ name }) => {
        const folder = name === 'default' ? '' : name;
        return pipe(
          TE.fromEither(onlyAdapter(model, name)),
          TE.flatMap((one) => saveModel(join(dir, folder), one, options)),
          TE.map((files) => files.map((file) => join(folder, file))),
        );
      }),
      TE.map((files) => files.flat()),
    ),
);

export const saveOptionsOf = ({ setup, tokenizer }: Run): SaveOptions => {
  const base = setup.modelName ?? (typeof setup.model === 'string' ? setup.model : undefined);
  return { tokenizer, baseModelNameOrPath: base };
};

/** Writes `checkpoint-N` whole or not at all, then removes what saveTotalLimit no longer keeps. Resolves to its directory. */
export const saveCheckpoint = (run: Run): TaskEither<FatalError, string> => {
  const { config, state, controls } = run;
  const outputDir = config.outputDir ?? '.';
  const { saveTotalLimit: limit } = config;
  const heard = TE.fromIO(controls.stay);
  if (state.best?.step === state.step) state.best = { ...state.best, saved: true };
  return pipe(
    run.logs.sync(),
    TE.flatMap(() =>
      writeCheckpoint(outputDir, state.step, (dir) =>
        pipe(
          writeModel(dir, state.model, saveOptionsOf(run)),
          // The moments of a run that was left meanwhile are gone.
          TE.flatMap(() => heard),
          TE.flatMap(() =>
            config.saveOnlyModel
              ? TE.right(undefined)
              : writeSafetensors(join(dir, optimizerFile), momentsToWrite(state.moments)),
          ),
          TE.flatMap(() => writeJson(join(dir, trainerStateFile), encodeTrainerState(run))),
          TE.flatMap(() => heard),
        ),
      ),
    ),
    TE.tap(() =>
      rotateCheckpoints(outputDir, {
        written: state.step,
        ...(limit === undefined ? {} : { limit }),
        ...(state.best?.saved === true ? { best: state.best.step } : {}),
      }),
    ),
    TE.map(({ dir }) => dir),
  );
};
