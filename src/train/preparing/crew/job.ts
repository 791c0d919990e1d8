/** What a thread needs to know to prepare rows, as plain data. */
import { isLeft, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../../errors.js';
import type { RowBlock } from '../../../formats/datasets/rowBlocks.js';
import { tokenizerOfRecipe } from '../../../formats/tokenizing/templatedTokenizer.js';
import { recipeOf } from '../../../formats/tokenizing/tokenizerRecipe.js';
import type { TokenizerRecipe } from '../../../formats/tokenizing/tokenizerRecipe.js';
import type { RowPathConfig } from '../rowPath.js';
import { blockOutcomes } from './outcome.js';
import type { BlockOptions } from './outcome.js';
import { packOutcomes } from './wire.js';

export interface Job {
  readonly recipe?: TokenizerRecipe;
  readonly config: RowPathConfig;
  readonly tellRoles: boolean;
}

/** Undefined where something is code, which stays in its thread: a formatting function, a tokenizer that no files make. */
export const jobOf = ({ setup, config, tellRoles }: BlockOptions): Job | undefined => {
  const { tokenizer, formattingFunc } = setup;
  if (formattingFunc !== undefined) return undefined;
  const recipe = tokenizer === undefined ? undefined : recipeOf(tokenizer);
  if (tokenizer !== undefined && recipe === undefined) return undefined;
  const { datasetTextField, maxLength, packing, addSpecialTokens, completionOnlyLoss, promptBorder } = config;
  const { assistantOnlyLoss, responseTemplate, instructionTemplate, parity } = config;
  const own: RowPathConfig = {
    maxLength,
    packing,
    promptBorder,
    assistantOnlyLoss,
    ...(datasetTextField === undefined ? {} : { datasetTextField }),
    ...(addSpecialTokens === undefined ? {} : { addSpecialTokens }),
    ...(completionOnlyLoss === undefined ? {} : { completionOnlyLoss }),
    ...(responseTemplate === undefined ? {} : { responseTemplate }),
    ...(instructionTemplate === undefined ? {} : { instructionTemplate }),
    ...(parity === undefined ? {} : { parity }),
  };
  return { config: own, tellRoles, ...(recipe === undefined ? {} : { recipe }) };
};

export type Serve = (block: RowBlock) => ReturnType<typeof packOutcomes>;

/** What a thread does with a block; its tokenizer made from the files. */
export const serveJob = ({ recipe, config, tellRoles }: Job): Either<FatalError, Serve> => {
  const tokenizer = recipe === undefined ? right(undefined) : tokenizerOfRecipe(recipe);
  if (isLeft(tokenizer)) return tokenizer;
  const options: BlockOptions = { setup: { tokenizer: tokenizer.right }, config, tellRoles };
  return right((block) => packOutcomes(block.kind, blockOutcomes(block, options)));
};
