/** Values of transformers' loader options, and what they are here. */

const dtypes: Readonly<Record<string, 'float32' | 'bfloat16'>> = {
  float32: 'float32',
  float: 'float32',
  bfloat16: 'bfloat16',
};

export const attentions: Readonly<Record<string, 'fused' | 'eager'>> = {
  eager: 'eager',
  sdpa: 'fused',
  flash_attention_2: 'fused',
  flash_attention_3: 'fused',
};

/** Of `bfloat16`, or `torch.bfloat16` as Python prints it. */
export const precisionNamed = (dtype: unknown): 'float32' | 'bfloat16' | undefined => {
  const name = String(dtype).replace(/^torch\./, '');
  return Object.hasOwn(dtypes, name) ? dtypes[name] : undefined;
};

export const attentionNamed = (name: string): 'fused' | 'eager' | undefined =>
  Object.hasOwn(attentions, name) ? attentions[name] : undefined;
