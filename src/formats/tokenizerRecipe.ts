/** What a tokenizer can be made of again, where the object itself cannot go: in another thread. */

export interface TokenizerRecipe {
  /** File name → text. */
  readonly files: Readonly<Record<string, string>>;
  /** Source of a template in place of the files' own. */
  readonly chatTemplate?: string;
}

const recipes = new WeakMap<object, TokenizerRecipe>();

export const rememberRecipe = (tokenizer: object, recipe: TokenizerRecipe): void => {
  recipes.set(tokenizer, recipe);
};

/** Undefined for a tokenizer that is not, or no longer, what files make: given as code, copied and changed, with a clock of its own. */
export const recipeOf = (tokenizer: object): TokenizerRecipe | undefined => recipes.get(tokenizer);
