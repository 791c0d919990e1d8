/** The public surface, by folder. */

// records and errors
export { ignoreIndex } from './records.js';
export type {
  Batch,
  ConversationExample,
  Example,
  Formatted,
  Labelled,
  Message,
  PreTokenized,
  PromptCompletionExample,
  Row,
  Span,
  StepResult,
  TextExample,
  Tokenized,
  Transform,
  WeightedSpan,
} from './records.js';
export { dataError, fatal, FatalError, isFatal, orThrow, render, warning } from './errors.js';
export type {
  DataError,
  Details as ErrorDetails,
  ErrorCode,
  FatalDetails,
  Place,
  Warning,
  WarningCode,
} from './errors.js';
export { random } from './seed.js';
export type { Random, RandomStream } from './seed.js';

// streams
/** rxjs's `pipe`, for joining operators into one; the bare name is fp-ts's. */
export { pipe as compose } from 'rxjs';
export { fromEither } from './streams/fromEither.js';
export { mapping, windowed } from './streams/operator.js';
export type { Machine, Rejecting } from './streams/operator.js';
export { asyncMapping } from './streams/asyncMapping.js';
export type { AsyncMappingOptions } from './streams/asyncMapping.js';
export { drain } from './streams/drain.js';
export type { Work } from './streams/drain.js';
export { makeGate } from './streams/gate.js';
export type { Gate, Lane, LaneOptions } from './streams/gate.js';
export { pull } from './streams/pull.js';
export { makeRejects } from './streams/rejects.js';
export type { RejectCounts, RejectOptions, Rejected, Rejects } from './streams/rejects.js';

// formats
export { openDataset } from './formats/dataset.js';
export type { DatasetFormat, DatasetOptions } from './formats/dataset.js';
export { interleave } from './formats/interleave.js';
export type { InterleaveOptions, MixSource, Rows, StoppingStrategy } from './formats/interleave.js';
export { jsonl } from './formats/jsonl.js';
export { jsonArray } from './formats/jsonArray.js';
export { textFile } from './formats/textFile.js';
export type { TextOptions } from './formats/textFile.js';
export { decodeExample } from './formats/example.js';
export type { ColumnReport, ExampleOptions, FormatName, FormatReport } from './formats/example.js';
export { sourced } from './formats/sourced.js';
export type { Sourced, SourcedError, SourcedValue } from './formats/sourced.js';
export { locateModel } from './formats/hub/locate.js';
export type { Located } from './formats/hub/locate.js';
export type { HubDownload, HubSettings } from './formats/hub/settings.js';
export type { DatasetChoice } from './formats/hub/datasetFiles.js';
export type { ModelPart } from './formats/hub/modelFiles.js';
export { withAddedTokens, withChatFormat } from './formats/addTokens.js';
export type { ChatFormat, NewTokens } from './formats/addTokens.js';
export { loadTokenizer } from './formats/loadTokenizer.js';
export { makeTokenizer } from './formats/tokenizer.js';
export type { Surroundings as TokenizerSurroundings, Tokenizer } from './formats/tokenizer.js';
export { makeChatTemplate } from './formats/chatTemplate.js';
export type { ChatTemplate, ChatTemplateOptions, Conversation, Rendered } from './formats/chatTemplate.js';
export { readSafetensors, writeSafetensors } from './formats/safetensors.js';
export type { StoredTensor, TensorData, TensorToWrite } from './formats/safetensors.js';
export { readCheckpointTensors, writeCheckpointTensors } from './formats/shards.js';
export type { CheckpointTensors, ShardOptions } from './formats/shards.js';
export { readAdapter, writeAdapter } from './formats/adapterFiles.js';
export type {
  AdapterConfig,
  AdapterFiles,
  AdapterLora,
  ReadConfig as AdapterConfigRead,
} from './formats/adapterFiles.js';
export { listCheckpoints, newestCheckpoint } from './formats/checkpoint.js';
export type { Checkpoint, NewestCheckpoint } from './formats/checkpoint.js';
export { closed, option, optional, required } from './formats/closed.js';
export type {
  Closed,
  ClosedInput,
  ClosedValue,
  Field,
  FieldKind,
  Fields,
  InputOf,
  OptionCodec,
  ValueOf,
} from './formats/closed.js';
export type { ReadOptions } from './formats/byteSource.js';
export type { JsonRecord } from './formats/jsonRecord.js';
export type { CsvOptions } from './formats/csv.js';
export type { GgufType } from './formats/gguf/values.js';
export type { ElementOptions } from './formats/jsonElements.js';
export type { LineOptions } from './formats/lineBlocks.js';
export type { ParquetOptions } from './formats/parquet.js';
export type { Provenance } from './formats/provenance.js';
export type { Dtype } from './formats/safetensorsHeader.js';
export type { StoredTensors } from './formats/storedTensor.js';

// operators, each with its pure half
export { accumulate, accumulateRows } from './operators/accumulate.js';
export type { AccumulateOptions } from './operators/accumulate.js';
export { batch, batchRows } from './operators/batch.js';
export type { BatchOptions, BatchStreamOptions } from './operators/batch.js';
export { decode, decodeRow, formattedBy, textField } from './operators/decode.js';
export type { Decode, FormattingFunc, Shape } from './operators/decode.js';
export { format, formatRow } from './operators/format.js';
export type { FormatOptions } from './operators/format.js';
export { groupByLength, groupByLengthRows } from './operators/groupByLength.js';
export type { GroupByLengthOptions } from './operators/groupByLength.js';
export { learnable, learnableRow } from './operators/learnable.js';
export type { LearnableOptions } from './operators/learnable.js';
export { lmLabels, lmLabelsRow } from './operators/lmLabels.js';
export type { LmLabelsOptions } from './operators/lmLabels.js';
export { maskCompletions, maskCompletionsRow } from './operators/maskCompletions.js';
export type { MaskCompletionsOptions } from './operators/maskCompletions.js';
export { pack, packRows } from './operators/pack.js';
export type { PackOptions, PackingStrategy } from './operators/pack.js';
export { packConstantLength, packConstantLengthRows } from './operators/packConstantLength.js';
export type { ConstantLengthOptions } from './operators/packConstantLength.js';
export { pad, padRow } from './operators/pad.js';
export type { PadOptions, Padded } from './operators/pad.js';
export { templateIds } from './operators/responses.js';
export { restart } from './operators/restart.js';
export type { RestartOptions } from './operators/restart.js';
export { shuffle, shuffleRows } from './operators/shuffle.js';
export type { ShuffleOptions } from './operators/shuffle.js';
export { tokenize, tokenizeRow } from './operators/tokenize.js';
export type { TokenizeOptions } from './operators/tokenize.js';
export { truncate, truncateRow } from './operators/truncate.js';
export type { TruncateOptions } from './operators/truncate.js';

// model
export {
  balancing,
  evaluateLoss,
  expectedTensors,
  logits,
  lossAndGradients,
  makeCausalLm,
  modelConfig,
  registerArchitecture,
} from './model/causalLm.js';
export type { CausalLM, LossOutput, TrainOptions, VisitLogits } from './model/causalLm.js';
export type { Architecture, JoinedTensor } from './model/architecture.js';
export type { ExpertLoad, RouterBalance } from './model/balance.js';
export type { ExpertsConfig, ModelConfig, RawConfig } from './model/config.js';
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
export type { QuantizationOptions, StoredQuantization } from './model/quantize/config.js';
export { dequantizeFourBit, quantizeFourBit } from './model/quantize/fourBit.js';
export type { FourBitBlocks, FourBitKind } from './model/quantize/fourBit.js';
export { dequantizeInt8, quantizeInt8 } from './model/quantize/int8.js';
export type { Int8Rows } from './model/quantize/int8.js';
export { nestScales, unnestScales } from './model/quantize/nested.js';
export type { NestedScales } from './model/quantize/nested.js';
export type { Gradients, Layer, Passed, Wanted, Weights } from './model/layer.js';
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
  EpochMark,
  Evaluation,
  HardRowText,
  Mixture,
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
  Check,
  CheckName,
  FoundRow,
  Preflight,
  PreflightConfig,
  PreflightFold,
  PreflightOptions,
  Sample as PreflightSample,
} from './train/preflight/preflight.js';
export { contamination } from './train/contamination.js';
export type { Contamination, ContaminationOptions } from './train/contamination.js';
export { preflightDataset } from './train/preflight/dataset.js';
export type { DatasetOptions as PreflightDatasetOptions } from './train/preflight/dataset.js';
export { preflightFault } from './train/preflight/strict.js';
export { preflightPage } from './train/preflight/page.js';
export type { PageOptions as PreflightPageOptions } from './train/preflight/page.js';
export { preflightText } from './train/preflight/text.js';
export type { TextOptions as PreflightTextOptions } from './train/preflight/text.js';
export type { Histogram } from './train/preflight/histogram.js';
export type { InspectSetup } from './train/preflight/inspectRow.js';
export { prepare } from './train/prepare.js';
export type { RefusedRows } from './train/refusals.js';
export type { PrepareConfig, PrepareSetup, PrepareSummary, Tally } from './train/prepare.js';
export type { SourceCounts } from './train/sourceCounts.js';
export { prepareDataset } from './train/prepareDataset.js';
export type { PrepareDatasetOptions } from './train/prepareDataset.js';
export { prepareRows } from './train/prepareRows.js';
export type { PrepareRowsSetup, Prepared } from './train/prepareRows.js';
export { initState } from './train/state.js';
export type { Best, StepOptions, TrainState } from './train/state.js';
export { step, trainStep } from './train/step.js';
export { sequenceOf } from './train/unpad.js';
export type { Unpadded } from './train/unpad.js';
export { evaluateRows } from './train/evaluate.js';
export { makeRowNames } from './train/rowNames.js';
export type { Names, RowNames } from './train/rowNames.js';
export { answerRows, questionOf } from './train/samples.js';
export type { Question, Sample, SampleOptions } from './train/samples.js';
export type {
  EvaluateOptions,
  Evaluated,
  GroupEvaluation,
  Groups,
  HardRow,
  Predictions,
  PreprocessLogits,
  RowEvaluation,
} from './train/evaluate.js';
export { exportGguf } from './train/exportGguf.js';
export type { GgufOptions } from './train/exportGguf.js';
export { saveAdapters, saveModel } from './train/save.js';
export type { SaveOptions } from './train/save.js';
export { gptqRows, saveGptq } from './train/gptq.js';
export type { GptqLayer, GptqModel } from './model/quantize/gptqModel.js';
export type { GptqMatrix, GptqOptions } from './model/quantize/gptq.js';
export type { GptqConfig, GptqFormat } from './model/quantize/gptqConfig.js';
export type { FourBitMatrix, QuantizedBase, QuantizedScales } from './model/quantize/matrix.js';
export type { Entry as KvCacheEntry, KvCache } from './model/cachedAttention.js';
export type { FurtherAdapter, Pass, Training } from './model/pass.js';
export type { TensorKind, TensorSpec } from './model/weights.js';
export { setupChatFormat } from './train/setupChatFormat.js';
export type { ChatFormatOptions, ChatReady } from './train/setupChatFormat.js';
export { planSteps } from './train/plan.js';
export type { Plan, PlanFields } from './train/plan.js';
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
export type {
  Ending as DecayOptions,
  Rate as RateOptions,
  Schedule,
  Warming as WarmupOptions,
} from './train/schedule.js';
export { chain, clipByGlobalNorm, eachParameter, mapGradients, scaleBy } from './train/optimizer.js';
export type { GradientTransform, Moments, Moved, Optimizer, Rule, Single, Slot, Update } from './train/optimizer.js';
export { adafactor } from './train/adafactor.js';
export type { AdafactorOptions } from './train/adafactor.js';
export { adamw } from './train/adamw.js';
export type { AdamWOptions } from './train/adamw.js';
export { adamw8bit } from './train/adamw8bit.js';
export type { AdamW8bitOptions } from './train/adamw8bit.js';
export { lion } from './train/lion.js';
export type { LionOptions } from './train/lion.js';
export { sgd } from './train/sgd.js';
export type { SgdOptions } from './train/sgd.js';
export { loraplusFactor, withRates } from './train/rates.js';
export { generateIds, generateText, promptIds } from './train/generateText.js';
export type { GenerateTextOptions } from './train/generateText.js';
export { promptTokens } from './train/promptTokens.js';
export type { PromptTokensOptions } from './train/promptTokens.js';
export { report, tokensOfRow } from './train/report.js';
export type { Report, ReportAnswer, ReportStep, ReportToken } from './train/report.js';
export { makeRecorder } from './train/report/record.js';
export type {
  EvaluationEntry,
  HardEntry,
  Moment,
  RecordChange,
  Recorder,
  RecorderOptions,
  RunRecord,
  SamplesEntry,
  StepColumns,
  StepEntry,
} from './train/report/record.js';
export { serveDashboard } from './train/dashboard.js';
export type { Dashboard, DashboardOptions } from './train/dashboard.js';
export type { Interval as LogInterval, LogRow } from './train/metrics.js';
export type { RowPathConfig, RowPathSetup } from './train/rowPath.js';
