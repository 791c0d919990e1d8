/** The public surface, by folder. */

// records and errors
export { ignoreIndex } from './records.js';
export type {
  Batch,
  Example,
  Formatted,
  Labelled,
  Message,
  Row,
  Span,
  StepResult,
  Tokenized,
  Transform,
  WeightedSpan,
} from './records.js';
export { dataError, fatal, FatalError, isFatal, orThrow, render, warning } from './errors.js';
export type { DataError, ErrorCode, Place, Warning, WarningCode } from './errors.js';
export { random } from './seed.js';
export type { Random, RandomStream } from './seed.js';

// streams
export { compose, fromEither, mapping, windowed } from './streams/operator.js';
export type { Machine, Rejecting } from './streams/operator.js';
export { asyncMapping } from './streams/asyncMapping.js';
export { drain } from './streams/drain.js';
export { makeGate } from './streams/gate.js';
export type { Gate } from './streams/gate.js';
export { pull } from './streams/pull.js';
export { makeRejects } from './streams/rejects.js';
export type { RejectCounts, Rejected, Rejects } from './streams/rejects.js';

// formats
export { openDataset } from './formats/dataset.js';
export { interleave } from './formats/interleave.js';
export type { MixSource, StoppingStrategy } from './formats/interleave.js';
export { jsonl } from './formats/jsonl.js';
export { jsonArray } from './formats/jsonArray.js';
export { textFile } from './formats/textFile.js';
export { decodeExample } from './formats/example.js';
export { sourced } from './formats/sourced.js';
export type { Sourced } from './formats/sourced.js';
export { locateModel } from './formats/hub/locate.js';
export type { Located } from './formats/hub/locate.js';
export type { HubSettings } from './formats/hub/settings.js';
export { withAddedTokens, withChatFormat } from './formats/addTokens.js';
export type { ChatFormat, NewTokens } from './formats/addTokens.js';
export { loadTokenizer, makeTokenizer } from './formats/tokenizer.js';
export type { Tokenizer } from './formats/tokenizer.js';
export { makeChatTemplate } from './formats/chatTemplate.js';
export type { ChatTemplate, Rendered } from './formats/chatTemplate.js';
export { readSafetensors, writeSafetensors } from './formats/safetensors.js';
export type { StoredTensor, TensorToWrite } from './formats/safetensors.js';
export { readCheckpointTensors, writeCheckpointTensors } from './formats/shards.js';
export { readAdapter, writeAdapter } from './formats/adapterFiles.js';
export { listCheckpoints, newestCheckpoint } from './formats/checkpoint.js';
export { closed, option, optional, required } from './formats/closed.js';

// operators, each with its pure half
export { accumulate, accumulateRows } from './operators/accumulate.js';
export { batch, batchRows } from './operators/batch.js';
export { decode, decodeRow, formattedBy, textField } from './operators/decode.js';
export { format, formatRow } from './operators/format.js';
export { groupByLength, groupByLengthRows } from './operators/groupByLength.js';
export { learnable, learnableRow } from './operators/learnable.js';
export { lmLabels, lmLabelsRow } from './operators/lmLabels.js';
export { maskCompletions, maskCompletionsRow } from './operators/maskCompletions.js';
export { pack, packRows } from './operators/pack.js';
export { packConstantLength, packConstantLengthRows } from './operators/packConstantLength.js';
export { pad, padRow } from './operators/pad.js';
export { templateIds } from './operators/responses.js';
export { restart } from './operators/restart.js';
export { shuffle, shuffleRows } from './operators/shuffle.js';
export { tokenize, tokenizeRow } from './operators/tokenize.js';
export { truncate, truncateRow } from './operators/truncate.js';

// model
export {
  evaluateLoss,
  expectedTensors,
  logits,
  lossAndGradients,
  makeCausalLm,
  modelConfig,
  registerArchitecture,
} from './model/causalLm.js';
export type { CausalLM, LossOutput, TrainOptions } from './model/causalLm.js';
export type { Architecture } from './model/architecture.js';
export type { ModelConfig, RawConfig } from './model/config.js';
// Building blocks of architectures, under a name of their own: `layers.compose` is not the streams' `compose`.
export * as layers from './model/layers.js';
export { endIds, generate } from './model/generate.js';
export type { GenerateOptions } from './model/generate.js';
export { attachLora, attachSavedLora } from './model/adapter.js';
export {
  addAdapter,
  addSavedAdapter,
  deleteAdapter,
  listAdapters,
  onlyAdapter,
  setActiveAdapters,
  withoutAdapter,
} from './model/adapters.js';
export type { LoraOptions } from './model/adapters.js';
export { combineAdapters } from './model/combineAdapters.js';
export type { CombineOptions } from './model/combineAdapters.js';
export type { NamedAdapter, NamedAdapters } from './model/model.js';
export { mergeAndUnload, mergeLora } from './model/merge.js';
export type { Merged, MergeOptions } from './model/merge.js';
export { LoraConfig } from './model/lora.js';
export { dequantizeModel, prepareModelForKbitTraining, quantizeModel } from './model/quantize/base.js';
export { QuantizationConfig } from './model/quantize/config.js';
export type { QuantizationOptions } from './model/quantize/config.js';
export { dequantizeFourBit, quantizeFourBit } from './model/quantize/fourBit.js';
export { dequantizeInt8, quantizeInt8 } from './model/quantize/int8.js';
export { nestScales, unnestScales } from './model/quantize/nested.js';
export type { Gradients, Layer, Weights } from './model/layer.js';
export type { Sequence, Targets } from './model/sequence.js';

export { resizeTokenEmbeddings } from './model/resizeEmbeddings.js';
export type { NewTokenInit, ResizeOptions } from './model/resizeEmbeddings.js';

// train
export { completed, sftTrainer } from './train/trainer.js';
export type { SftRun } from './train/trainer.js';
export type {
  Begun,
  CheckpointWritten,
  Dataset,
  Evaluation,
  Mixture,
  EpochMark,
  RunCallback,
  RunEvent,
  RunSummary,
  Samples,
  SftSetup,
} from './train/run.js';
export type { RunInputs, TrainerControl } from './train/controls.js';
export { decodeSftConfig, SftConfig } from './train/config.js';
export type { SftOptions } from './train/config.js';
export { load, loadAdapter, loadModel, loadParts } from './train/load.js';
export type { LoadAdapterOptions, Loaded, LoadedModel, LoadOptions } from './train/load.js';
export { chooseEngine, doctor } from './train/engine.js';
export type { EngineName, EngineOptions, EngineReport } from './train/engine.js';
export { foldPreflight, preflight } from './train/preflight/preflight.js';
export type {
  Check,
  CheckName,
  Preflight,
  PreflightConfig,
  PreflightFold,
  PreflightOptions,
} from './train/preflight/preflight.js';
export { contamination } from './train/contamination.js';
export type { Contamination, ContaminationOptions } from './train/contamination.js';
export { preflightDataset } from './train/preflight/dataset.js';
export { preflightFault } from './train/preflight/strict.js';
export { preflightPage } from './train/preflight/page.js';
export { preflightText } from './train/preflight/text.js';
export { prepare } from './train/prepare.js';
export type { PrepareSummary } from './train/prepare.js';
export type { SourceCounts } from './train/sourceCounts.js';
export { prepareDataset } from './train/prepareDataset.js';
export type { PrepareDatasetOptions } from './train/prepareDataset.js';
export { prepareRows } from './train/prepareRows.js';
export { initState } from './train/state.js';
export type { StepOptions, TrainState } from './train/state.js';
export { step, trainStep } from './train/step.js';
export { sequenceOf } from './train/unpad.js';
export { evaluateRows } from './train/evaluate.js';
export { makeRowNames } from './train/rowNames.js';
export type { RowNames } from './train/rowNames.js';
export { answerRows, questionOf } from './train/samples.js';
export type { Sample } from './train/samples.js';
export type { Evaluated, GroupEvaluation, Predictions, PreprocessLogits, RowEvaluation } from './train/evaluate.js';
export { exportGguf } from './train/exportGguf.js';
export type { GgufOptions } from './train/exportGguf.js';
export { saveAdapters, saveModel } from './train/save.js';
export { gptqRows, saveGptq } from './train/gptq.js';
export type { GptqModel } from './model/quantize/gptqModel.js';
export type { GptqOptions } from './model/quantize/gptq.js';
export { setupChatFormat } from './train/setupChatFormat.js';
export type { ChatFormatOptions, ChatReady } from './train/setupChatFormat.js';
export { planSteps } from './train/plan.js';
export type { Plan } from './train/plan.js';
export {
  constant,
  constantWithWarmup,
  cosineDecay,
  cosineWithMinimum,
  cosineWithRestarts,
  inverseSqrt,
  linearDecay,
  polynomialDecay,
  warmupStableDecay,
} from './train/schedule.js';
export type { Schedule } from './train/schedule.js';
export { chain, clipByGlobalNorm, mapGradients, scaleBy } from './train/optimizer.js';
export type { GradientTransform, Optimizer } from './train/optimizer.js';
export { adafactor } from './train/adafactor.js';
export { adamw } from './train/adamw.js';
export { adamw8bit } from './train/adamw8bit.js';
export { lion } from './train/lion.js';
export { sgd } from './train/sgd.js';
export { loraplusFactor, withRates } from './train/rates.js';
export { generateIds, generateText, promptIds } from './train/generateText.js';
export { promptTokens } from './train/promptTokens.js';
export type { PromptTokensOptions } from './train/promptTokens.js';
export { report, tokensOfRow } from './train/report.js';
export type { Report, ReportAnswer, ReportStep, ReportToken } from './train/report.js';
export { makeRecorder } from './train/report/record.js';
export type { Recorder, RunRecord } from './train/report/record.js';
export { serveDashboard } from './train/dashboard.js';
export type { Dashboard, DashboardOptions } from './train/dashboard.js';
