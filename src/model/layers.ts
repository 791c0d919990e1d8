import * as parts from './layers/index.js';

/**
 * What an architecture of your own is built from, for `registerArchitecture`: layers that carry their way back (projections, attention
 * whose heads turn, norms, MLPs, blocks in turn or side by side), and how its tensors are described.
 *
 *     const norm = layers.rmsNorm('norm', { eps: 1e-5, offset: 0 });
 *     const { value, pullback } = norm(weights, x, { weight: () => true, input: true });
 */
export const layers: typeof parts = parts;

// Beside the value, or its types would have no names; a module that is exported as a whole would show no text.
// eslint-disable-next-line @typescript-eslint/no-namespace
export declare namespace layers {
  type AttentionShape = parts.AttentionShape;
  type GrowingAngles = parts.GrowingAngles;
  type RotaryAngles = parts.RotaryAngles;
  type QueryGrowth = parts.QueryGrowth;
  type RopeConfig = parts.RopeConfig;
  type RopeDefaults = parts.RopeDefaults;
  type RopeScaling = parts.RopeScaling;
  type RotaryParts = parts.RotaryParts;
  type RotaryShape = parts.RotaryShape;
  type DecoderFields = parts.DecoderFields;
  type TokenIds = parts.TokenIds;
  type ActivationKind = parts.ActivationKind;
  type AttentionAttrs = parts.AttentionAttrs;
  type DeltaRuleAttrs = parts.DeltaRuleAttrs;
  type RmsNormAttrs = parts.RmsNormAttrs;
  type RopeAttrs = parts.RopeAttrs;
  type Convolution = parts.Convolution;
  type DeltaShape = parts.DeltaShape;
  type HeadSizes = parts.HeadSizes;
  type BlockPlace = parts.BlockPlace;
  type SideBySide = parts.SideBySide;
  type Value = parts.Value;
  type Projection = parts.Projection;
  type GatedNames = parts.GatedNames;
  type PlainMlp = parts.PlainMlp;
  type LayerNormOptions = parts.LayerNormOptions;
  type NormOptions = parts.NormOptions;
}
