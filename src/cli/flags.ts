/** Command-line flags from records of options, and the options back from the flags. */
import { Option, type Command } from 'commander';
import { fieldFromText } from '../formats/optionText.js';
import type { Field, Fields } from '../formats/closed.js';
import { textInFlags } from './inFlags.js';
import { kebab } from './names.js';

const placeholder = ({ kind, itemKind, codec, values = [] }: Field): string => {
  switch (kind) {
    case 'number':
    case 'integer':
      return '<n>';
    case 'enum':
      return values.join('').length <= 24 ? `<${values.join('|')}>` : '<name>';
    case 'list':
      return itemKind === 'string' || itemKind === 'enum' ? '<name,…>' : '<n,…>';
    case 'json':
      // What may be true is true where no value is given.
      return codec.is(true) ? '[json]' : '<json>';
    case 'boolean':
      return '[true|false]';
    case 'string':
    case 'texts':
      return '<text>';
  }
};

const description = (
  field: Field,
  { known, others = [] }: { readonly known: Fields; readonly others?: Names },
): string => {
  const { values = [] } = field;
  const also = others.length === 0 ? '' : ` Also ${others.map((name) => `--${kebab(name)}`).join(', ')}.`;
  const doc = `${textInFlags(field.doc, (name) => Object.hasOwn(known, name))}${also}`;
  const told = field.kind === 'enum' && placeholder(field) === '<name>' ? `${doc} One of ${values.join(', ')}.` : doc;
  if (field.presence === 'required') return `${told} (required)`;
  const value: unknown = field.default;
  if (field.presence === 'optional' || value === null || value === '') return told;
  return `${told} (default: ${typeof value === 'string' ? value : JSON.stringify(value)})`;
};

type Names = ReadonlyArray<string>;

/** How the help shows flags. */
export interface FlagHelp {
  /** What they stand under; hidden without one. */
  readonly heading?: string | undefined;
  /** Options that texts about these may name. Default: these. */
  readonly known?: Fields | undefined;
  /** Other names that are understood, by option. */
  readonly others?: Readonly<Record<string, Names>> | undefined;
}

/** Every text given for a flag, in order; `true` stands for a flag without a value. */
type Given = ReadonlyArray<string | true>;

// Texts are gathered as they come: the codec, not the flag, judges them.
const gather = (text: string, before: Given | undefined): Given => [...(before ?? []), text];

/** Adds one flag a field; a boolean also gets its `--no-` form. */
export const addFlags = (
  command: Command,
  fields: Fields,
  { heading, known = fields, others = {} }: FlagHelp = {},
): void => {
  for (const [name, field] of Object.entries(fields)) {
    const told = description(field, { known, others: others[name] ?? [] });
    const flag = new Option(`--${kebab(name)} ${placeholder(field)}`, told).argParser(gather);
    command.addOption(heading === undefined ? flag.hideHelp() : flag.helpGroup(heading));
    if (field.kind === 'boolean') command.addOption(new Option(`--no-${kebab(name)}`).hideHelp());
  }
};

/** Names with commas between them. */
const words = /^[\w.-]+(,[\w.-]+)+$/;

const valueOf = (field: Field, given: unknown): unknown => {
  // A flag without a value is `true`, its `--no-` form `false`.
  if (typeof given === 'boolean') return given;
  if (!Array.isArray(given)) return undefined;
  if (field.kind === 'texts') return (given as Given).filter((one) => one !== true);
  const raw = (given as Given).flatMap((one) => (one === true ? [] : words.test(one) ? one.split(',') : [one]));
  // Fields that take a text or a list (module names) are written as lists are.
  if (field.kind === 'json' && raw.length > 1 && field.codec.is(raw)) return raw;
  const texts = (given as Given).map((one) => (one === true ? true : fieldFromText(field, one)));
  return field.kind === 'list' && texts.length > 1 ? texts.flat() : texts[texts.length - 1];
};

/** What the flags of `fields` say, by option name; flags not given are absent. */
export const flagsGiven = (command: Command, fields: Fields): Readonly<Record<string, unknown>> =>
  Object.fromEntries(
    Object.entries(fields).flatMap(([name, field]): Array<[string, unknown]> => {
      const value = valueOf(field, command.getOptionValue(name));
      return value === undefined ? [] : [[name, value]];
    }),
  );
