/** What an architecture of one's own is built from: layers that carry their way back, and how its tensors are described. */
export { attention } from '../attention/attention.js';
export { rotary, rotaryAngles } from '../attention/rope.js';
export { ropeConfig } from '../attention/ropeConfig.js';
export { rotaryAttention } from '../attention/rotaryAttention.js';
export {
  activation as activationName,
  decodeFields,
  decoderConfig,
  decoderFields,
  headsOf,
  namedTokenIds,
  onlyAs,
  optional,
  positive,
  positiveInteger,
  rate,
  tokenIds,
  unfit,
} from '../config.js';
export { block } from '../pass.js';
export { causalConv, causalConvSpec } from '../recurrent/causalConv.js';
export { deltaRuleSpec, gatedDeltaRule } from '../recurrent/gatedDeltaRule.js';
export {
  conv1dSpec,
  embeddingSpec,
  headSpec,
  layerNormSpec,
  linearSpec,
  perLayer,
  queryKeyValueSpec,
  rmsNormSpec,
} from '../weights.js';
export { inTurn, rotaryBody, sideBySide, stem } from './blocks.js';
export { clipped } from './clipped.js';
export { joinColumns, splitColumns, splitGroups } from './columns.js';
export { dropout } from './dropout.js';
export { positionEmbedding, tokenEmbedding } from './embedding.js';
export { beside, compose, each, fanOut, frozen, holding, identity, mapLayers, residual, total } from './layer.js';
export { linear } from './linear.js';
export { queryKeyValue } from './linears.js';
export { activation, gated, gatedMlp, plainMlp } from './mlp.js';
export { neftune } from './neftune.js';
export { bareLayerNorm, layerNorm, perHead, rmsNorm } from './norm.js';
export { narrowing } from './rows.js';
export { scaled } from './scaled.js';

export type { AttentionShape } from '../attention/attention.js';
export type { GrowingAngles, RotaryAngles } from '../attention/rope.js';
export type { QueryGrowth, RopeConfig, RopeDefaults, RopeScaling } from '../attention/ropeConfig.js';
export type { RotaryParts, RotaryShape } from '../attention/rotaryAttention.js';
export type { DecoderFields, TokenIds } from '../config.js';
export type { ActivationKind } from '../kernels/activation.js';
export type { AttentionAttrs } from '../kernels/attention.js';
export type { DeltaRuleAttrs } from '../kernels/gatedDeltaRule.js';
export type { RmsNormAttrs } from '../kernels/rmsNorm.js';
export type { RopeAttrs } from '../kernels/rope.js';
export type { Convolution } from '../recurrent/causalConv.js';
export type { DeltaShape } from '../recurrent/gatedDeltaRule.js';
export type { HeadSizes } from '../weights.js';
export type { BlockPlace, SideBySide } from './blocks.js';
export type { Value } from './layer.js';
export type { Projection } from './linear.js';
export type { GatedNames, PlainMlp } from './mlp.js';
export type { LayerNormOptions, NormOptions } from './norm.js';
