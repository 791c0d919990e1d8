/** What a GGUF file says of itself, whatever it holds. */
import { string, uint32 } from '../../formats/gguf/values.js';
import type { GgufMetadata, GgufType } from '../../formats/gguf/values.js';

/** How a GGUF file is written. */
export interface GgufOptions {
  /** Numbers of matrices: float32, float16, bfloat16, or 8 bits with a scale for every 32. Vectors stay float32. Default `f16`. */
  readonly outtype?: GgufType | undefined;
  /** What programs show as the model's name. */
  readonly name?: string | undefined;
}

/** llama.cpp's `general.file_type`. */
const fileTypes: Readonly<Record<GgufType, number>> = { f32: 0, f16: 1, q8_0: 7, bf16: 32 };

export const ggufGeneral = (
  kind: 'model' | 'adapter',
  architecture: string,
  type: GgufType,
  name: string | undefined,
): GgufMetadata => ({
  'general.architecture': string(architecture),
  'general.type': string(kind),
  ...(name === undefined ? {} : { 'general.name': string(name) }),
  'general.file_type': uint32(fileTypes[type]),
  ...(type === 'q8_0' ? { 'general.quantization_version': uint32(2) } : {}),
});
