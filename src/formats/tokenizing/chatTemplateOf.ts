import type { ChatTemplate } from '../chatTemplate.js';
import { namedTemplates } from '../chatTemplate.js';
import type { TokenizerSpec } from './spec.js';

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null ? (value as Readonly<Record<string, unknown>>) : {};

/** One template, or a list of `{ name, template }`, or a table by name. */
const sourcesOf = (value: unknown): ReadonlyMap<string, string> => {
  const sources = new Map<string, string>();
  if (typeof value === 'string') {
    sources.set('default', value);
  } else if (Array.isArray(value)) {
    for (const entry of value as ReadonlyArray<unknown>) {
      const { name, template } = fieldsOf(entry);
      if (typeof name === 'string' && typeof template === 'string') sources.set(name, template);
    }
  } else {
    for (const [name, template] of Object.entries(fieldsOf(value))) {
      if (typeof template === 'string') sources.set(name, template);
    }
  }
  return sources;
};

const parsed = (text: string): unknown => {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    return undefined;
  }
};

/** The template of a tokenizer: chat_template.jinja, else chat_template.json, else tokenizer_config.json. */
export const chatTemplateOf = (
  files: Readonly<Record<string, string>>,
  spec: TokenizerSpec,
  clock?: () => Date,
): ChatTemplate | undefined => {
  const own = files['chat_template.jinja'];
  const json = files['chat_template.json'];
  const candidates = [
    own,
    json === undefined ? undefined : fieldsOf(parsed(json))['chat_template'],
    spec.config['chat_template'],
  ];
  for (const candidate of candidates) {
    const sources = sourcesOf(candidate);
    if (sources.size > 0) {
      return namedTemplates(sources, {
        specialTokens: spec.specialTokens,
        ...(clock === undefined ? {} : { clock }),
      });
    }
  }
  return undefined;
};
