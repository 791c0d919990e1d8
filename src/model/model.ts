import * as E from 'fp-ts/lib/Either.js';
import type { FatalError, Warning } from '../errors.js';
import type { LoraConfig } from './adapters/lora.js';
import { bufferNames, matchTensors } from './architectures.js';
import type { ModelConfig } from './config.js';
import { parted } from './imageText.js';
import type { WholeCheckpoint } from './imageText.js';
import type { Weights } from './layers/layer.js';
import type { QuantizedBase } from './quantize/matrix.js';

/** An adapter that a model knows by its name. */
export interface NamedAdapter {
  readonly lora: LoraConfig;
  /** Its tensors, under the names that they have when it is the only one in use. */
  readonly weights: Weights;
  /** Copies of weights of the base that are its own: what `modulesToSave` and `bias` train, and what lacks a part (`taken`). */
  readonly beside: Weights;
  /** See `CausalLM.taken`. */
  readonly taken?: Weights | undefined;
}

/** Adapters by name over one base, as `addAdapter` puts them there. */
export interface NamedAdapters {
  readonly all: Readonly<Record<string, NamedAdapter>>;
  /** Those in use: the first one's tensors lie in the model's weights under plain names, those of others under their own. */
  readonly active: ReadonlyArray<string>;
  /** The weights without any. */
  readonly base: Weights;
}

/**
 * A causal language model: weights under transformers' names, those of a LoRA adapter beside them under PEFT's names without
 * its prefix (`model.layers.0.self_attn.q_proj.lora_A.weight`).
 */
export interface CausalLM {
  /** Its config.json as decoded. */
  readonly config: ModelConfig;
  /** All of its tensors by name. */
  readonly weights: Weights;
  /** Names of the weights that get gradients. */
  readonly trainable: ReadonlyArray<string>;
  /** Options of the adapter in `weights`; absent: adapters there are left out of every pass. */
  readonly lora?: LoraConfig;
  /**
   * Halves that the adapter began with and the weights it sits on lack since, under the names of its own (`initLoraWeights` pissa and
   * olora): the adapter is saved as its difference from them, which fits the base as it is on disk.
   */
  readonly taken?: Weights | undefined;
  /** Present where adapters were added by name. */
  readonly adapters?: NamedAdapters;
  /** generation_config.json of the model's directory as it stood there: how the model is to be sampled. Saved with the model. */
  readonly generationConfig?: Readonly<Record<string, unknown>>;
  /** Token rows that the base model has on disk, where they are more or fewer here: an adapter is saved with its tables then. */
  readonly resizedFrom?: number;
  /** Present where the model was loaded as the text part of a checkpoint that holds more. */
  readonly whole?: WholeCheckpoint;
  /** Present when linear weights are held in 8 or 4 bits. */
  readonly quantized?: QuantizedBase;
  /** Attention step by step, not as one kernel. */
  readonly eagerAttention?: boolean;
}

/** A model, and what was to be told of it. */
export interface ModelWithWarnings {
  readonly model: CausalLM;
  readonly warnings: ReadonlyArray<Warning>;
}

/**
 * The model of a configuration and its weights, all of which train but for buffers. Names may lack the base prefix; what the model has no use
 * for is left out (and stays the caller's). `E_WEIGHTS_MISSING`, `E_WEIGHTS_SHAPE`.
 */
export const makeCausalLm = (config: ModelConfig, weights: Weights): E.Either<FatalError, CausalLM> => {
  const own = config.within === undefined ? weights : Object.fromEntries(parted(new Map(Object.entries(weights))).own);
  const stored = Object.entries(own).map(([name, { shape }]) => ({ name, shape }));
  const buffers = bufferNames(config);
  return E.Functor.map(matchTensors(config, stored), ({ tensors }) => ({
    config,
    weights: Object.fromEntries(
      tensors.flatMap(({ stored: key, name }) => {
        const tensor = own[key];
        return tensor === undefined ? [] : [[name, tensor] as const];
      }),
    ),
    trainable: tensors.map(({ name }) => name).filter((name) => !buffers.has(name)),
  }));
};

/** The model of weights that have been matched, some of them quantised: those do not train. */
export const quantizedLm = (config: ModelConfig, weights: Weights, quantized: QuantizedBase): CausalLM => {
  const buffers = bufferNames(config);
  return {
    config,
    weights,
    trainable: Object.keys(weights).filter((name) => !(name in quantized.scales) && !buffers.has(name)),
    quantized,
  };
};

/**
 * The same model, whose load-balancing loss counts `auxLossCoef` times whatever config.json says of it; of a model without routed experts, or
 * without such a loss, the model.
 */
export const withAuxLossCoef = (model: CausalLM, auxLossCoef: number): CausalLM => {
  const { experts, ...config } = model.config;
  return experts === undefined || experts.balanced === false
    ? model
    : { ...model, config: { ...config, experts: { ...experts, auxLossCoef } } };
};

/** The same model, of which only `names` train; a RangeError for a name that it has not. */
export const training = (model: CausalLM, names: ReadonlyArray<string>): CausalLM => {
  const unknown = names.find((name) => !(name in model.weights));
  if (unknown !== undefined) throw new RangeError(`the model has no weight "${unknown}"`);
  return { ...model, trainable: names };
};
