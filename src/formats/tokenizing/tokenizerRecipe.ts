/** What a tokenizer can be made of again, where the object itself cannot go: in another thread. */

import type { ModelTables } from './modelOf.js';
import type { TokenizerSpec } from './spec.js';

export interface TokenizerRecipe {
  /** File name → text: all of them, or beside `made` those of templates alone. */
  readonly files: Readonly<Record<string, string>>;
  /** What was made of the files, the model's tables in memory that threads share: nothing of them is parsed or built again. */
  readonly made?: { readonly spec: TokenizerSpec; readonly tables: ModelTables };
  /** Source of a template in place of the files' own. */
  readonly chatTemplate?: string;
}

const recipes = new WeakMap<object, TokenizerRecipe>();

export const rememberRecipe = (tokenizer: object, recipe: TokenizerRecipe): void => {
  recipes.set(tokenizer, recipe);
};

/** Undefined for a tokenizer that is not, or no longer, what files make: given as code, copied and changed, with a clock of its own. */
export const recipeOf = (tokenizer: object): TokenizerRecipe | undefined => recipes.get(tokenizer);
