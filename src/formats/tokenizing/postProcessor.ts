import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';

/** What the post-processor puts around a single text. */
export interface Surround {
  readonly prefix: ReadonlyArray<number>;
  readonly suffix: ReadonlyArray<number>;
}

const idsOf = (name: unknown, table: JsonRecord, tokenToId: (token: string) => number | undefined) => {
  if (typeof name !== 'string') return undefined;
  const listed = fieldsOf(table[name])['ids'];
  if (Array.isArray(listed) && listed.every((id): id is number => typeof id === 'number')) return listed;
  const id = tokenToId(name);
  return id === undefined ? undefined : [id];
};

/** Undefined for a post-processor of another shape. */
export const compilePostProcessor = (
  config: unknown,
  tokenToId: (token: string) => number | undefined,
): Surround | undefined => {
  if (config === null || config === undefined) return { prefix: [], suffix: [] };
  const fields = fieldsOf(config);
  switch (fields['type']) {
    case 'ByteLevel':
      return { prefix: [], suffix: [] };
    case 'BertProcessing':
    case 'RobertaProcessing': {
      const cls: unknown = Array.isArray(fields['cls']) ? fields['cls'][1] : undefined;
      const sep: unknown = Array.isArray(fields['sep']) ? fields['sep'][1] : undefined;
      return typeof cls === 'number' && typeof sep === 'number' ? { prefix: [cls], suffix: [sep] } : undefined;
    }
    case 'TemplateProcessing': {
      const table = fieldsOf(fields['special_tokens']);
      if (!Array.isArray(fields['single'])) return undefined;
      const prefix: number[] = [];
      const suffix: number[] = [];
      let seen = false;
      for (const item of fields['single'] as ReadonlyArray<unknown>) {
        const { SpecialToken: special, Sequence: sequence } = fieldsOf(item);
        if (sequence !== undefined) {
          if (seen || fieldsOf(sequence)['id'] !== 'A') return undefined;
          seen = true;
        } else {
          const ids = idsOf(fieldsOf(special)['id'], table, tokenToId);
          if (ids === undefined) return undefined;
          (seen ? suffix : prefix).push(...ids);
        }
      }
      return seen ? { prefix, suffix } : undefined;
    }
    case 'Sequence': {
      if (!Array.isArray(fields['processors'])) return undefined;
      let prefix: ReadonlyArray<number> = [];
      let suffix: ReadonlyArray<number> = [];
      for (const part of fields['processors'] as ReadonlyArray<unknown>) {
        const one = compilePostProcessor(part, tokenToId);
        if (one === undefined) return undefined;
        prefix = [...one.prefix, ...prefix];
        suffix = [...suffix, ...one.suffix];
      }
      return { prefix, suffix };
    }
    default:
      return undefined;
  }
};
