/** The public surface, by folder. */

// records, errors, seed, streams, formats, operators; rows prepared for a run
export * from './data.js';

// model
export { makeCausalLm, withAuxLossCoef } from './model/model.js';
export { evaluateLoss, logits, lossAndGradients } from './model/causalLm.js';
export { expectedTensors, modelConfig, registerArchitecture } from './model/architectures.js';
export type { CausalLM, ModelWithWarnings } from './model/model.js';
export type { EvaluateLossOptions, LossOutput, TrainOptions, VisitLogits } from './model/causalLm.js';
export { atLabels, oneHotLabels } from './model/kernels/atLabels.js';
export { byTape } from './model/ownLoss.js';
export type { ComputeLoss, TargetsPart, TokenLoss, TokenLosses } from './model/ownLoss.js';
export type { Architecture, FileLayout, JoinedTensor, TokenTables } from './model/architecture.js';
export type { ExpertLoad, RouterBalance } from './model/experts/balance.js';
export type { ExpertsConfig, ModelConfig, RawConfig, Within } from './model/config.js';
export type { TextLayout, WholeCheckpoint } from './model/imageText.js';
// Building blocks of architectures, under a name of their own: `layers.compose` is not the streams' `compose`.
export { layers } from './model/layers.js';
export { endIds, generate } from './model/generate.js';
export type { GenerateOptions } from './model/generate.js';
export { attachLora } from './model/adapters/adapter.js';
export type { NewAdapterOptions } from './model/adapters/adapter.js';
export { attachSavedLora } from './model/adapters/savedAdapter.js';
export type { SavedAdapterOptions } from './model/adapters/savedAdapter.js';
export {
  addAdapter,
  addSavedAdapter,
  deleteAdapter,
  listAdapters,
  onlyAdapter,
  setActiveAdapters,
  withoutAdapter,
} from './model/adapters/adapters.js';
export type { ListedAdapter } from './model/adapters/adapters.js';
export { combineAdapters } from './model/adapters/combineAdapters.js';
export type { CombineOptions } from './model/adapters/combineAdapters.js';
export type { NamedAdapter, NamedAdapters } from './model/model.js';
export { disposeModel } from './model/disposeModel.js';
export { mergeAndUnload, mergeLora } from './model/adapters/merge.js';
export type { Merged, MergeOptions } from './model/adapters/merge.js';
export { LoraConfig } from './model/adapters/lora.js';
export type { LoraOptions } from './model/adapters/lora.js';
export { dequantizeModel, prepareModelForKbitTraining, quantizeModel } from './model/quantize/base.js';
export { QuantizationConfig } from './model/quantize/config.js';
export type { QuantizationOptions, StoredQuantization } from './model/quantize/config.js';
export { dequantizeFourBit, quantizeFourBit } from './model/quantize/fourBit.js';
export type { FourBitBlocks, FourBitKind } from './model/quantize/fourBit.js';
export { dequantizeInt8, quantizeInt8 } from './model/quantize/int8.js';
export type { Int8Rows } from './model/quantize/int8.js';
export { nestScales, unnestScales } from './model/quantize/nested.js';
export type { NestedScales } from './model/quantize/nested.js';
export type { Gradients, Layer, Passed, Wanted, Weights } from './model/layers/layer.js';
export type { Sequence, Targets } from './model/sequence.js';

export { resizeTokenEmbeddings } from './model/resizeEmbeddings.js';
export type { NewTokenInit, ResizeOptions } from './model/resizeEmbeddings.js';

// train
export { completed, sftTrainer } from './train/trainer.js';
export type { SftRun } from './train/trainer.js';
export type {
  Begun,
  CheckpointWritten,
  ComputeMetrics,
  Dataset,
  EpochMark,
  Evaluation,
  HardRowText,
  Mixture,
  RunCallback,
  RunEvent,
  RunSummary,
  Samples,
  SftSetup,
} from './train/run/run.js';
export type { RunInputs, TrainerControl } from './train/run/controls.js';
export { load, loadAdapter, loadModel, loadParts } from './train/loading/load.js';
export type {
  LoadAdapterOptions,
  Loaded,
  LoadedModel,
  LoadedParts,
  LoadOptions,
  ModelWithTokenizer,
} from './train/loading/load.js';
export { chooseEngine, doctor } from './train/engine.js';
export type {
  Device,
  Doctor,
  EngineName,
  EngineOptions,
  EngineReport,
  EngineTried,
  Precision,
  Starter,
} from './train/engine.js';
export { foldPreflight, preflight } from './train/preflight/preflight.js';
export type {
  Preflight,
  PreflightConfig,
  PreflightFold,
  PreflightOptions,
} from './train/preflight/preflight.js';
export type { Check, CheckName, FoundRow } from './train/preflight/checks.js';
export type { PreflightSample } from './train/preflight/samples.js';
export type { RowFormats } from './train/preflight/formatTally.js';
export { contamination } from './train/evaluating/contamination.js';
export type { Contamination, ContaminationOptions } from './train/evaluating/contamination.js';
export { preflightDataset } from './train/preflight/dataset.js';
export type { PreflightDatasetOptions } from './train/preflight/dataset.js';
export { preflightFault } from './train/preflight/strict.js';
export { preflightPage } from './train/preflight/page.js';
export type { PreflightPageOptions } from './train/preflight/page.js';
export { preflightText } from './train/preflight/text.js';
export type { PreflightTextOptions } from './train/preflight/text.js';
export type { Histogram } from './train/preflight/histogram.js';
export type { InspectSetup } from './train/preflight/inspectRow.js';
export { disposeState, initState } from './train/step/state.js';
export type { Best, StateSetup, StepOptions, TrainState } from './train/step/state.js';
export { step, trainStep } from './train/step/step.js';
export { sequenceOf } from './train/step/unpad.js';
export type { Unpadded } from './train/step/unpad.js';
export type { GroupEvaluation, Groups } from './train/evaluating/groupSums.js';
export type { Predictions } from './train/evaluating/predictions.js';
export { evaluateRows } from './train/evaluating/evaluate.js';
export { makeRowNames } from './train/preparing/rowNames.js';
export type { Names, RowNames } from './train/preparing/rowNames.js';
export { answerRows, questionOf } from './train/generating/samples.js';
export type { AnswerRowsOptions, Question, Sample, SampleOptions } from './train/generating/samples.js';
export type {
  EvaluateOptions,
  Evaluated,
  HardRow,
  PreprocessLogits,
  RowEvaluation,
} from './train/evaluating/evaluate.js';
export { exportGguf } from './train/saving/exportGguf.js';
export type { ExportGgufOptions } from './train/saving/exportGguf.js';
export { exportGgufAdapter } from './train/saving/exportGgufAdapter.js';
export type { GgufOptions } from './train/saving/ggufGeneral.js';
export { pushToHub } from './train/saving/pushToHub.js';
export type { Pushed, PushOptions } from './train/saving/pushToHub.js';
export type { HubPush } from './train/run/pusher.js';
export type { HubCommit } from './formats/hub/uploading.js';
export { saveAdapters, saveModel } from './train/saving/save.js';
export type { SaveOptions } from './train/saving/save.js';
export { gptqRows, saveGptq } from './train/saving/gptq.js';
export type { GptqRowsOptions } from './train/saving/gptq.js';
export type { GptqLayer, GptqModel } from './model/quantize/gptqModel.js';
export type { GptqMatrix, GptqOptions } from './model/quantize/gptq.js';
export type { GptqConfig, GptqFormat } from './model/quantize/gptqConfig.js';
export type { FourBitMatrix, QuantizedBase, QuantizedScales } from './model/quantize/matrix.js';
export type { KvCacheEntry, KvCache } from './model/attention/cachedAttention.js';
export type { FurtherAdapter, Pass, Training } from './model/pass.js';
export type { TensorKind, TensorSpec } from './model/weights.js';
export { setupChatFormat } from './train/loading/setupChatFormat.js';
export type { ChatFormatOptions, ChatReady } from './train/loading/setupChatFormat.js';
export { planSteps } from './train/step/plan.js';
export type { Plan, PlanFields } from './train/step/plan.js';
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
} from './train/optimizers/schedule.js';
export type {
  CosineOptions,
  CosineWithMinimumOptions,
  DecayOptions,
  InverseSqrtOptions,
  PolynomialOptions,
  RateOptions,
  Schedule,
  WarmupOptions,
  WarmupStableDecayOptions,
} from './train/optimizers/schedule.js';
export { chain, clipByGlobalNorm, eachParameter, mapGradients, scaleBy } from './train/optimizers/optimizer.js';
export type {
  GradientTransform,
  Moments,
  Moved,
  Optimizer,
  Rule,
  Single,
  Slot,
  Update,
} from './train/optimizers/optimizer.js';
export { adafactor } from './train/optimizers/adafactor.js';
export type { AdafactorOptions } from './train/optimizers/adafactor.js';
export { adamw } from './train/optimizers/adamw.js';
export type { AdamWOptions } from './train/optimizers/adamw.js';
export { adamw8bit } from './train/optimizers/adamw8bit.js';
export type { AdamW8bitOptions } from './train/optimizers/adamw8bit.js';
export { lion } from './train/optimizers/lion.js';
export type { LionOptions } from './train/optimizers/lion.js';
export { sgd } from './train/optimizers/sgd.js';
export type { SgdOptions } from './train/optimizers/sgd.js';
export { loraplusFactor, withRates } from './train/optimizers/rates.js';
export { generateIds, generateText } from './train/generating/generateText.js';
export type { GenerateTextOptions } from './train/generating/generateText.js';
export { report, tokensOfRow } from './train/report/report.js';
export type { Report, ReportAnswer, ReportStep, ReportToken } from './train/report/report.js';
export { makeRecorder } from './train/report/recorder.js';
export type { Recorder, RecorderOptions } from './train/report/recorder.js';
export type {
  EvaluationEntry,
  HardEntry,
  Moment,
  RecordChange,
  RunRecord,
  SamplesEntry,
} from './train/report/record.js';
export type { StepColumns, StepEntry } from './train/report/stepColumns.js';
export { serveDashboard } from './train/report/dashboard.js';
export type { Dashboard, DashboardOptions } from './train/report/dashboard.js';
export type { LogInterval, LogRow } from './train/logging/metrics.js';
