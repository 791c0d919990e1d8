/** The name under which prepared rows are kept: everything that decides them, hashed. */
import { createHash } from 'node:crypto';
import { identityOf } from '../../../formats/identity.js';
import { identityOfTokenizer } from '../../../formats/tokenizing/tokenizerIdentity.js';
import { isParity } from '../../options/parity.js';
import type { Dataset } from '../../run/run.js';
import type { PrepareConfig, PrepareSetup } from '../prepare.js';
import { codeVersion } from './codeVersion.js';

type When = (config: PrepareConfig) => boolean;
const always: When = () => true;
const packing: When = (config) => config.packing;
const textBuffer: When = (config) => config.packing && isParity(config);

/** When an option decides prepared rows. A new one does not compile until it is said here. */
const deciding: { readonly [K in keyof Required<PrepareConfig>]: When } = {
  datasetTextField: always,
  packing: always,
  addSpecialTokens: always,
  completionOnlyLoss: always,
  promptBorder: always,
  assistantOnlyLoss: always,
  responseTemplate: always,
  instructionTemplate: always,
  parity: always,
  maxLength: always,
  packingStrategy: packing,
  numOfSequences: textBuffer,
  charsPerToken: textBuffer,
  appendConcatToken: textBuffer,
  shuffle: textBuffer,
  seed: textBuffer,
};

export interface Key {
  readonly hash: string;
  /** False when a file that was hashed is no longer what it was. */
  readonly holds: () => Promise<boolean>;
}

/**
 * The key of a data set's rows. Undefined where something decides them that cannot be seen: rows given in code, a formatting
 * function, a tokenizer or template not made from files, a template that reads the clock, names already in use.
 */
export const keyOf = async (
  dataset: Dataset,
  { tokenizer, formattingFunc, names }: Pick<PrepareSetup, 'tokenizer' | 'formattingFunc' | 'names'>,
  config: PrepareConfig,
): Promise<Key | undefined> => {
  if (formattingFunc !== undefined) return undefined;
  if (names?.files.nameOf(1) !== undefined || names?.roles.nameOf(1) !== undefined) return undefined;
  const code = codeVersion();
  const encoding = tokenizer === undefined ? null : await identityOfTokenizer(tokenizer);
  if (code === undefined || encoding === undefined) return undefined;
  const data = await identityOf(dataset);
  if (data === undefined) return undefined;
  const options = Object.entries(deciding).flatMap(([name, when]) =>
    when(config) ? [[name, config[name as keyof PrepareConfig] ?? null]] : [],
  );
  const told = JSON.stringify({ code, encoding, data: data.told, options, names: names !== undefined });
  return { hash: createHash('sha256').update(told).digest('hex'), holds: data.holds };
};
