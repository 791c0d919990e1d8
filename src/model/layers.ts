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
  /** How heads attend, and which layer of the model they are. */
  type AttentionShape = parts.AttentionShape;
  /** The angles, and the same times what queries grow by, which turns and grows them at once. */
  type GrowingAngles = parts.GrowingAngles;
  /** cos and sin of every position's angles, [N, rotaryDim / 2] each. */
  type RotaryAngles = parts.RotaryAngles;
  /** Queries at position p count 1 + beta · log(1 + ⌊(p + ahead) / every⌋) times (Llama 4, Ministral 3). */
  type QueryGrowth = parts.QueryGrowth;
  /** By which angles queries and keys turn (Su et al. 2021). */
  type RopeConfig = parts.RopeConfig;
  /** What `ropeConfig` takes from elsewhere than the file's rotary part. */
  type RopeDefaults = parts.RopeDefaults;
  /** How angles change for longer texts, as transformers has them. */
  type RopeScaling = parts.RopeScaling;
  /** The maps around the heads of one layer, and how the heads turn. */
  type RotaryParts = parts.RotaryParts;
  /** What `rotaryAttention` reads of a configuration. */
  type RotaryShape = parts.RotaryShape;
  /** Fields of a config.json, as `decoderFields` decodes them. */
  type DecoderFields = parts.DecoderFields;
  /** Token ids of a config.json, as `tokenIds` decodes them. */
  type TokenIds = parts.TokenIds;
  /**
   * `gelu` is the exact one (erf), `gelu_new` its tanh form, `quick_gelu` x·σ(1.702x), `relu2` the square of `relu`; `sigmoid` is
   * that of gates alone.
   */
  type ActivationKind = parts.ActivationKind;
  /** How heads attend. */
  type AttentionAttrs = parts.AttentionAttrs;
  /** Documents and heads of the gated delta rule. */
  type DeltaRuleAttrs = parts.DeltaRuleAttrs;
  /** How an RMS norm divides, and how its gain is stored. */
  type RmsNormAttrs = parts.RmsNormAttrs;
  /** Which entries of which heads turn, and which way. */
  type RopeAttrs = parts.RopeAttrs;
  /** Which convolution over tokens it is. */
  type Convolution = parts.Convolution;
  /** Heads of the gated delta rule. */
  type DeltaShape = parts.DeltaShape;
  /** Sizes of an attention layer. */
  type HeadSizes = parts.HeadSizes;
  /** What lies where in layer `i` of so many. */
  type BlockPlace = parts.BlockPlace;
  /** What stands around attention and MLP where both read the same. */
  type SideBySide = parts.SideBySide;
  /** What flows between layers. */
  type Value = parts.Value;
  /** Which linear map it is, and how it lies. */
  type Projection = parts.Projection;
  /** What a gated MLP calls its three maps. */
  type GatedNames = parts.GatedNames;
  /** The maps of an MLP without a gate. */
  type PlainMlp = parts.PlainMlp;
  /** What a layer norm puts out, and how its gain is stored. */
  type LayerNormOptions = parts.LayerNormOptions;
  /** What a norm puts out. */
  type NormOptions = parts.NormOptions;
}
