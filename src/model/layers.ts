/** What an architecture of one's own is built from: layers that carry their way back, and how its tensors are described. */
export { attention } from './attention.js';
export { joinColumns, splitColumns } from './columns.js';
export {
  activation as activationName,
  decodeFields,
  headsOf,
  namedTokenIds,
  optional,
  positive,
  positiveInteger,
  rate,
  tokenIds,
  unfit,
} from './config.js';
export { dropout } from './dropout.js';
export { positionEmbedding, scaled, tokenEmbedding } from './embedding.js';
export { compose, each, fanOut, frozen, holding, identity, mapLayers, residual, total } from './layer.js';
export { linear } from './linear.js';
export { activation, gated } from './mlp.js';
export { neftune } from './neftune.js';
export { layerNorm, perHead, rmsNorm } from './norm.js';
export { block } from './pass.js';
export { narrowing } from './rows.js';
export { ropeConfig, rotary, rotaryAngles } from './rope.js';
export {
  conv1dSpec,
  embeddingSpec,
  headSpec,
  layerNormSpec,
  linearSpec,
  perLayer,
  rmsNormSpec,
} from './weights.js';
