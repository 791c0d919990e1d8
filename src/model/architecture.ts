/** What the library must know of a family of models to run it. */
import type { Tensor } from '@tensorflow/tfjs-core';
import type * as E from 'fp-ts/lib/Either.js';
import type { FatalError } from '../errors.js';
import type { TensorToWrite } from '../formats/tensors/safetensors.js';
import type { StoredTensor } from '../formats/tensors/storedTensor.js';
import type { ModelConfig, RawConfig } from './config.js';
import type { Layer } from './layers/layer.js';
import type { Pass } from './pass.js';
import type { Sequence } from './sequence.js';
import type { TensorSpec } from './weights.js';

/** A tensor that files may hold in the place of several: their rows one below the other. */
export interface JoinedTensor {
  readonly name: string;
  readonly shape: ReadonlyArray<number>;
  /** Names of those that it stands for, which share it evenly, in order. */
  readonly parts: ReadonlyArray<string>;
}

/** How files hold tensors otherwise than the model has them. */
export interface FileLayout {
  /** A file's tensors by name as the model's; values are read when they are wanted. `E_WEIGHTS_SHAPE`. */
  readonly read: (
    tensors: ReadonlyMap<string, StoredTensor>,
  ) => E.Either<FatalError, ReadonlyMap<string, StoredTensor>>;
  /** The model's tensors as a file's. */
  readonly write: (tensors: ReadonlyArray<TensorToWrite>) => ReadonlyArray<TensorToWrite>;
}

/** Tables beside the embedding with a row for every token. */
export interface TokenTables {
  /** Their modules' paths. */
  readonly modules: ReadonlyArray<string>;
  /** Field of config.json that tells the number of their rows. */
  readonly field: string;
  /** The configuration with so many. */
  readonly resized: (rows: number) => ModelConfig;
}

/**
 * An architecture as this library runs it: how it reads config.json, which tensors it has, and its forward pass with the way back.
 * `registerArchitecture` makes it known.
 */
export interface Architecture<C extends ModelConfig = ModelConfig> {
  /** `config.architecture` of the configurations that it runs. */
  readonly name: string;
  /** `model_type` of the config.json files that it reads. */
  readonly modelTypes: ReadonlyArray<string>;
  /** Types of text models that stand in the config.json of others alone (`text_config`), which it reads too. Default: none. */
  readonly textTypes?: ReadonlyArray<string>;
  readonly config: (raw: RawConfig, modelType: string) => E.Either<FatalError, C>;
  /** Every tensor of a checkpoint, under the names that transformers saves. */
  readonly tensors: (config: C) => ReadonlyArray<TensorSpec>;
  /** Prefix of all names but the head's, which some files leave out. */
  readonly basePrefix: string;
  /** What files call the head. Default: `lm_head`. */
  readonly storedHead?: string;
  /** Tensors that some files hold in the place of those. Default: none. */
  readonly packed?: (config: C) => ReadonlyArray<JoinedTensor>;
  /** Where `packed` does not say it all. Default: files hold what the model has. */
  readonly fileLayout?: (config: C) => FileLayout;
  /** Names of stored buffers that are no weights. */
  readonly buffers?: RegExp;
  /** Names of tensors that files hold for what it leaves out: a whole checkpoint's are copied with the rest. Default: none. */
  readonly leavesOut?: (config: C) => RegExp | undefined;
  /** Module path of the token embedding. */
  readonly embedding: string;
  /** What else has a row for every token. Default: nothing. */
  readonly tokenTables?: (config: C) => TokenTables | undefined;
  /**
   * Tokens to hidden states [N, C], up to where the last steps treat every row by itself; of the pass's `rows` alone, [M, C], where
   * the architecture narrows.
   */
  readonly body: (config: C, pass: Pass) => Layer<Sequence, Tensor>;
  /** The body's last layer leaves out the rows that nobody reads (`layers.narrowing`). Default: it computes all. */
  readonly narrows?: boolean;
  /** Those last steps, on the rows whose logits are wanted: [M, C] to what the head multiplies. */
  readonly tail: (config: C, pass: Pass) => Layer<Tensor, Tensor>;
  /**
   * Tokens beyond which keys turn otherwise: generation makes those it kept anew when a text grows longer. Default: they stay as they
   * are.
   */
  readonly turnsOtherwiseBeyond?: (config: C) => number | undefined;
  /** Modules that take a LoRA adapter when none are named. */
  readonly loraTargets: (config: C) => ReadonlyArray<string>;
}
