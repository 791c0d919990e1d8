/** The public surface, grouped by folder. */

export * from './records.js';
export * from './errors.js';
export { random } from './seed.js';
export type { Random, RandomStream } from './seed.js';

// streams: when values move
export { asyncMapping } from './streams/asyncMapping.js';
export type { AsyncMappingOptions } from './streams/asyncMapping.js';
export { drain } from './streams/drain.js';
export type { Work } from './streams/drain.js';
export { makeGate } from './streams/gate.js';
export type { Gate } from './streams/gate.js';
export { compose, fromEither, mapping, windowed } from './streams/operator.js';
export type { Machine, Rejecting } from './streams/operator.js';
export { pull } from './streams/pull.js';
export { makeRejects } from './streams/rejects.js';
export type { RejectCounts, Rejected, RejectOptions, Rejects } from './streams/rejects.js';

// formats: bytes and text ↔ records
export { readAdapter, writeAdapter } from './formats/adapterFiles.js';
export type { AdapterConfig } from './formats/adapterFiles.js';
export { makeChatTemplate } from './formats/chatTemplate.js';
export type { ChatTemplate, Conversation, Provenance, Rendered } from './formats/chatTemplate.js';
export { listCheckpoints, newestCheckpoint } from './formats/checkpoint.js';
export { csv } from './formats/csv.js';
export { openDataset } from './formats/dataset.js';
export type { DatasetOptions } from './formats/dataset.js';
export { decodeExample, encodeExample, recogniseFormat } from './formats/example.js';
export type { FormatReport } from './formats/example.js';
export { jsonArray } from './formats/jsonArray.js';
export { jsonl } from './formats/jsonl.js';
export { writeJsonLines } from './formats/jsonLines.js';
export { parquet } from './formats/parquet.js';
export { encodePreparedRow } from './formats/preparedRow.js';
export { readSafetensors, writeSafetensors } from './formats/safetensors.js';
export { readCheckpointTensors, writeCheckpointTensors } from './formats/shards.js';
export type { Sourced } from './formats/sourced.js';
export { textFile } from './formats/textFile.js';
export { loadTokenizer, makeTokenizer } from './formats/tokenizer.js';
export type { Tokenizer } from './formats/tokenizer.js';

// operators: one stage each, a pure half and its lift
export { accumulate, accumulateRows } from './operators/accumulate.js';
export { batch, batchRows } from './operators/batch.js';
export type { BatchOptions } from './operators/batch.js';
export { decode, decodeRow, textField } from './operators/decode.js';
export { format, formatRow } from './operators/format.js';
export type { FormatOptions } from './operators/format.js';
export { groupByLength, groupByLengthRows } from './operators/groupByLength.js';
export { learnable, learnableRow } from './operators/learnable.js';
export { lmLabels, lmLabelsRow } from './operators/lmLabels.js';
export { maskCompletions, maskCompletionsRow } from './operators/maskCompletions.js';
export type { MaskCompletionsOptions } from './operators/maskCompletions.js';
export { pack, packRows } from './operators/pack.js';
export type { PackingStrategy, PackOptions } from './operators/pack.js';
export { packConstantLength, packConstantLengthRows } from './operators/packConstantLength.js';
export { pad, padRow } from './operators/pad.js';
export { shuffle, shuffleRows } from './operators/shuffle.js';
export { tokenize, tokenizeRow } from './operators/tokenize.js';
export type { TokenizeOptions } from './operators/tokenize.js';
export { truncate, truncateRow } from './operators/truncate.js';

// model: pure functions of weights, config and sequence
export { attachLora, mergeLora } from './model/adapter.js';
export { knownModelTypes, registerArchitecture } from './model/architectures.js';
export { evaluateLoss, logits, lossAndGradients } from './model/causalLm.js';
export type { LossOutput, TrainOptions } from './model/causalLm.js';
export type { ModelConfig } from './model/config.js';
export { generate } from './model/generate.js';
export type { GenerateOptions } from './model/generate.js';
export * as layers from './model/layer.js';
export { LoraConfig } from './model/lora.js';
export { makeCausalLm } from './model/model.js';
export type { CausalLM } from './model/model.js';
export type { Sequence, Targets } from './model/sequence.js';

// train: where streams and tensors meet
export { adafactor } from './train/adafactor.js';
export { adamw } from './train/adamw.js';
export { decodeSftConfig, SftConfig } from './train/config.js';
export type { SftOptions } from './train/config.js';
export { chooseEngine, doctor } from './train/engine.js';
export type { EngineOptions, EngineReport } from './train/engine.js';
export { evaluateRows } from './train/evaluate.js';
export { generateText } from './train/generateText.js';
export { lion } from './train/lion.js';
export { load, loadModel } from './train/load.js';
export { chain, clipByGlobalNorm, scaleBy } from './train/optimizer.js';
export type { GradientTransform, Optimizer } from './train/optimizer.js';
export { planSteps } from './train/plan.js';
export { prepare } from './train/prepare.js';
export type { PrepareSummary } from './train/prepare.js';
export { report } from './train/report.js';
export type { RunEvent, RunSummary, SftSetup } from './train/run.js';
export { saveModel } from './train/save.js';
export {
  constant,
  constantWithWarmup,
  cosineDecay,
  inverseSqrt,
  linearDecay,
  polynomialDecay,
  scheduleOf,
} from './train/schedule.js';
export { sgd } from './train/sgd.js';
export { initState } from './train/state.js';
export { step, trainStep } from './train/step.js';
export { completed, sftTrainer } from './train/trainer.js';
export type { SftRun } from './train/trainer.js';
export { sequenceOf } from './train/unpad.js';
