/** Keys of `adapter_model.safetensors`, and the names that the tensors have here. */
const prefix = 'base_model.model.';

/**
 * `model.….q_proj.lora_A.weight` → its key in the file. A weight or bias of a module that is itself adapted lies in PEFT's
 * wrapper, one level deeper.
 */
export const adapterKey = (name: string, adapted: ReadonlySet<string> = new Set()): string => {
  const dot = name.lastIndexOf('.');
  const module = name.slice(0, dot);
  const isWrapped = adapted.has(module) && /^\.(?:weight|bias)$/.test(name.slice(dot));
  return isWrapped ? `${prefix}${module}.base_layer${name.slice(dot)}` : `${prefix}${name}`;
};

const adapterParts = 'lora_A|lora_B|lora_embedding_A|lora_embedding_B|modules_to_save';

/** A key of the file → the name it has here: without prefix, wrapper, or an adapter's name should it have one. */
export const nameOfAdapterKey = (key: string): string =>
  (key.startsWith(prefix) ? key.slice(prefix.length) : key)
    .replace(new RegExp(`\\.(${adapterParts})\\.default(?=\\.|$)`), '.$1')
    .replace('.modules_to_save.', '.')
    .replace('.token_adapter.base_layer.', '.')
    // A second adapter around one module lies in the first one's wrapper.
    .replace(/\.base_layer\.(?!lora_)/, '.');
