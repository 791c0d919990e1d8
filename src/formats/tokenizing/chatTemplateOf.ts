import { type Either, isLeft, right } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { fieldsOf } from '../json/jsonRecord.js';
import type { ChatTemplate } from '../templates/chatTemplate.js';
import { namedTemplates } from '../templates/chatTemplate.js';
import type { TokenizerSpec } from './spec.js';
import { parseJson } from './specOf.js';

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

/** The template of a tokenizer: chat_template.jinja, else chat_template.json, else tokenizer_config.json. E_TOKENIZER_INVALID. */
export const chatTemplateOf = (
  files: Readonly<Record<string, string>>,
  spec: TokenizerSpec,
  clock?: () => Date,
): Either<FatalError, ChatTemplate | undefined> => {
  const own = files['chat_template.jinja'];
  const name = 'chat_template.json';
  const json = files[name];
  const parsed = json === undefined ? right({}) : parseJson(name, json);
  if (isLeft(parsed)) return parsed;
  const candidates = [own, fieldsOf(parsed.right)['chat_template'], spec.config['chat_template']];
  for (const candidate of candidates) {
    const sources = sourcesOf(candidate);
    if (sources.size > 0) {
      return right(
        namedTemplates(sources, {
          specialTokens: spec.specialTokens,
          readsParts: true,
          ...(clock === undefined ? {} : { clock }),
        }),
      );
    }
  }
  return right(undefined);
};
