/**
 * `rxtune/data`: the part of the surface that needs no tensors, by folder. It is for what prepares rows and runs no model: services
 * before a model, short programs, tests.
 */

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
  ErrorDetails,
  ErrorCode,
  FatalDetails,
  Place,
  Warning,
  WarningCode,
} from './errors.js';
export { random } from './seed.js';
export type { Random, RandomStream } from './seed.js';

// streams
export { compose } from './streams/compose.js';
export { fromEither } from './streams/fromEither.js';
export { mapping, windowed } from './streams/operator.js';
export type { Machine, MappingOptions, Rejecting } from './streams/operator.js';
export { asyncMapping } from './streams/asyncMapping.js';
export type { AsyncMappingOptions } from './streams/asyncMapping.js';
export { drain } from './streams/drain.js';
export type { Work } from './streams/drain.js';
export { makeGate } from './streams/gate.js';
export type { Gate, GateOptions, Lane, LaneOptions } from './streams/gate.js';
export { pull } from './streams/pull.js';
export { makeRejects } from './streams/rejects.js';
export type { RejectCounts, RejectOptions, Rejected, Rejects } from './streams/rejects.js';

// formats
export { openDataset } from './formats/datasets/dataset.js';
export type { DatasetFormat, DatasetOptions } from './formats/datasets/dataset.js';
export { interleave } from './formats/datasets/interleave.js';
export type { InterleaveOptions, MixSource, Rows, StoppingStrategy } from './formats/datasets/interleave.js';
export { jsonl } from './formats/datasets/jsonl.js';
export { jsonArray } from './formats/datasets/jsonArray.js';
export { textFile } from './formats/datasets/textFile.js';
export type { TextOptions } from './formats/datasets/textFile.js';
export { decodeExample } from './formats/examples/example.js';
export type { ColumnReport, ExampleOptions, FormatName, FormatReport } from './formats/examples/example.js';
export { sourced } from './formats/datasets/sourced.js';
export type { Sourced, SourcedError, SourcedValue } from './formats/datasets/sourced.js';
export { locateModel } from './formats/hub/locate.js';
export type { Located, LocateOptions } from './formats/hub/locate.js';
export type { HubDownload, HubSettings, HubUpload } from './formats/hub/settings.js';
export type { DatasetChoice } from './formats/hub/datasetFiles.js';
export type { ModelPart } from './formats/hub/modelFiles.js';
export { withAddedTokens, withChatFormat } from './formats/tokenizing/addTokens.js';
export type { ChatFormat, NewTokens } from './formats/tokenizing/addTokens.js';
export { loadTokenizer } from './formats/tokenizing/loadTokenizer.js';
export type { LoadTokenizerOptions } from './formats/tokenizing/loadTokenizer.js';
export { makeTokenizer } from './formats/tokenizing/tokenizer.js';
export type { TokenizerSurroundings, Tokenizer } from './formats/tokenizing/tokenizer.js';
export { makeChatTemplate } from './formats/templates/chatTemplate.js';
export type { ChatTemplate, ChatTemplateOptions, Conversation, Rendered } from './formats/templates/chatTemplate.js';
export { readSafetensors, writeSafetensors } from './formats/tensors/safetensors.js';
export type { SafetensorsOptions, StoredTensor, TensorData, TensorToWrite } from './formats/tensors/safetensors.js';
export { readCheckpointTensors, writeCheckpointTensors } from './formats/tensors/shards.js';
export type { CheckpointTensors, ShardOptions } from './formats/tensors/shards.js';
export { readAdapter, writeAdapter } from './formats/checkpoints/adapterFiles.js';
export type {
  AdapterConfig,
  AdapterLora,
  AdapterConfigRead,
} from './formats/checkpoints/adapterConfig.js';
export type { AdapterFiles, AdapterToWrite } from './formats/checkpoints/adapterFiles.js';
export { listCheckpoints, newestCheckpoint } from './formats/checkpoints/checkpoint.js';
export type { Checkpoint, NewestCheckpoint } from './formats/checkpoints/checkpoint.js';
export { closed, option, optional, required } from './formats/closed.js';
export type { Closed, ClosedInput, ClosedValue, Field, Fields, InputOf, ValueOf } from './formats/closed.js';
export type { FieldKind, OptionCodec } from './formats/optionCodecs.js';
export type { ReadOptions } from './formats/files/byteSource.js';
export type { JsonRecord } from './formats/json/jsonRecord.js';
export type { CsvOptions } from './formats/datasets/csv.js';
export type { GgufType } from './formats/gguf/values.js';
export type { ElementOptions } from './formats/datasets/jsonElements.js';
export type { LineOptions } from './formats/datasets/lineBlocks.js';
export type { ParquetOptions } from './formats/datasets/parquet.js';
export type { Provenance } from './formats/templates/provenance.js';
export type { Dtype } from './formats/tensors/safetensorsHeader.js';
export type { StoredTensors } from './formats/tensors/storedTensor.js';

// operators, each with its pure half
export { accumulate, accumulateRows } from './operators/accumulate.js';
export type { AccumulateOptions } from './operators/accumulate.js';
export { batch, batchRows } from './operators/batch.js';
export type { BatchOptions, BatchStreamOptions } from './operators/batch.js';
export { decode, decodeRow, formattedBy, textField } from './operators/decode.js';
export type { Decode, FormattedByOptions, FormattingFunc, Shape } from './operators/decode.js';
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
export type { TokenizerCut } from './operators/tokenizerCut.js';
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

// train: files to labelled rows
export { SftConfig } from './train/options/config.js';
export { decodeSftConfig } from './train/options/decodeConfig.js';
export type { SftOptions } from './train/options/config.js';
export { prepare } from './train/preparing/prepare.js';
export type { RefusedRows } from './train/preparing/refusals.js';
export type { PrepareConfig, PrepareSetup, PrepareSummary, Tally } from './train/preparing/prepare.js';
export type { SourceCounts } from './train/preparing/sourceCounts.js';
export { prepareDataset } from './train/preparing/prepareDataset.js';
export type { PrepareDatasetOptions } from './train/preparing/prepareDataset.js';
export { prepareRows } from './train/preparing/prepareRows.js';
export type { PrepareRowsSetup, Prepared } from './train/preparing/prepareRows.js';
export { promptTokens } from './train/generating/promptTokens.js';
export type { PromptTokensOptions } from './train/generating/promptTokens.js';
export type { RowPathConfig, RowPathSetup } from './train/preparing/rowPath.js';
