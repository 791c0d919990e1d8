/** Where in a value a codec of io-ts finds fault. */
import type { Context, ContextEntry } from 'io-ts';

/** A codec without what only narrows or freezes the values of another. */
const bare = (type: ContextEntry['type']): object =>
  'type' in type && '_tag' in type && ['ExactType', 'ReadonlyType', 'RefinementType'].includes(String(type._tag))
    ? bare(type.type as ContextEntry['type'])
    : type;

const hasParts = (entry: ContextEntry | undefined): boolean => {
  const type = entry === undefined ? {} : bare(entry.type);
  return '_tag' in type && (type._tag === 'UnionType' || type._tag === 'IntersectionType');
};

/** The entries that are fields, the value itself first: alternatives of a union and parts of an intersection, which io-ts counts, are none. */
export const fieldsOf = (context: Context): Context => context.filter((_, i) => !hasParts(context[i - 1]));

/** `a.b` of fields: b of the field a; '' is the value itself. */
export const fieldPath = (fields: Context): string =>
  fields
    .map(({ key }) => key)
    .filter((key) => key !== '')
    .join('.');
