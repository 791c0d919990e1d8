/** The text models of Qwen-VL in GGUF. */
import * as t from 'io-ts';
import type { FatalError } from '../../errors.js';
import { int32s, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata } from '../../formats/gguf/values.js';
import type { LlamaConfig } from '../architectures/llama.js';
import type { MixtureConfig } from '../architectures/mixture.js';
import type { RawConfig } from '../config.js';
import { unsupported } from './layout.js';
import type { LayoutOf } from './layout.js';
import { layoutOf, llamaLayout, rmsEps } from './llamaLike.js';
import type { Form } from './llamaLike.js';
import { mixtureLayout } from './mixture.js';

const recordIn = (raw: RawConfig, field: string): RawConfig => {
  const value = raw[field];
  return t.UnknownRecord.is(value) ? value : {};
};

const whole = t.array(t.Integer);

/** Which frequencies count rows, columns and time of images; those of a text count all alike. */
const sectionsOf = (raw: RawConfig): ReadonlyArray<number> | undefined => {
  const texts = [recordIn(raw, 'text_config'), raw];
  const given = texts
    .flatMap((text) => [recordIn(text, 'rope_scaling'), recordIn(text, 'rope_parameters')])
    .map((rope) => rope['mrope_section'])
    .find((sections) => whole.is(sections));
  return whole.is(given) ? given : undefined;
};

/** Layers that are given features of images beside those that stand in the text; what transformers takes where the file says nothing. */
const deepLayers = (raw: RawConfig): number => {
  const given = recordIn(raw, 'vision_config')['deepstack_visual_indexes'];
  return Array.isArray(given) ? given.length : 3;
};

const sections = (name: string, raw: RawConfig): GgufMetadata => ({
  [`${name}.rope.dimension_sections`]: int32s([...(sectionsOf(raw) ?? []), 0]),
});

const deepStack = (name: string, raw: RawConfig): GgufMetadata => ({
  [`${name}.n_deepstack_layers`]: uint32(deepLayers(raw)),
});

const sectionsRefusal = ({ raw }: LlamaConfig): FatalError | undefined =>
  sectionsOf(raw)?.length === 3 ? undefined : unsupported('rope_scaling.mrope_section', '3 whole numbers', null);

const form = (name: string, biases: 'qkv' | 'none'): Form<LlamaConfig> => ({
  name,
  scalings: ['default'],
  biases,
  metadata: (config) => ({
    ...rmsEps(name)(config),
    ...sections(name, config.raw),
    ...(name === 'qwen3vl' ? deepStack(name, config.raw) : {}),
  }),
  refusal: sectionsRefusal,
});

/** By the type of the text model. */
const forms: Readonly<Record<string, Form<LlamaConfig>>> = {
  qwen2_vl_text: form('qwen2vl', 'qkv'),
  qwen2_5_vl_text: form('qwen2vl', 'qkv'),
  qwen3_vl_text: form('qwen3vl', 'none'),
};

/** Of Llama's architecture, theirs among them. */
export const llamaOrQwenVlLayout: LayoutOf<LlamaConfig> = (config, specs) => {
  const own = forms[config.modelType];
  return (own === undefined ? llamaLayout : layoutOf(own))(config, specs);
};

export const qwen3VlMoeLayout: LayoutOf<MixtureConfig> = mixtureLayout({
  name: 'qwen3vlmoe',
  scalings: ['default'],
  biases: 'none',
  normalized: true,
  ownSize: true,
  metadata: ({ raw }) => ({ ...sections('qwen3vlmoe', raw), ...deepStack('qwen3vlmoe', raw) }),
  refusal: sectionsRefusal,
});
