/** Special tokens by the names that files give them: `bos_token`, `eos_token`, …. */
import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';

/** A special token is written as a string or as an object with `content`. */
export const contentOf = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value === '' ? undefined : value;
  const content = fieldsOf(value)['content'];
  return typeof content === 'string' && content !== '' ? content : undefined;
};

/** Of tokenizer_config.json and special_tokens_map.json. */
export const namedTokens = (config: JsonRecord, map: JsonRecord): Readonly<Record<string, string>> => {
  // Files from before `added_tokens_decoder` keep the truth in special_tokens_map.json.
  const [weak, strong] = 'added_tokens_decoder' in config ? [map, config] : [config, map];
  const names: Record<string, string> = {};
  for (const source of [weak, strong]) {
    for (const [name, value] of Object.entries(source)) {
      if (!name.endsWith('_token')) continue;
      const content = contentOf(value);
      if (content !== undefined) names[name] = content;
    }
  }
  return names;
};
