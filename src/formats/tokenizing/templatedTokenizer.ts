/** A tokenizer with another chat template than its own. */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { pipe } from 'fp-ts/lib/function.js';
import { fatalFromData } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import { makeChatTemplate } from '../templates/chatTemplate.js';
import { tokenizerOfFiles, tokenizerOfTables } from './tokenizer.js';
import type { Tokenizer } from './tokenizer.js';
import { recipeOf, rememberRecipe } from './tokenizerRecipe.js';
import type { TokenizerRecipe } from './tokenizerRecipe.js';

/** The tokenizer with a template given as Jinja source, which is saved with the model too. `E_TEMPLATE_SYNTAX`. */
export const templatedTokenizer = (tokenizer: Tokenizer, source: string): Either<FatalError, Tokenizer> =>
  pipe(
    makeChatTemplate(source, {
      readsParts: true,
      specialTokens: {
        bos_token: tokenizer.bosToken,
        eos_token: tokenizer.eosToken,
        pad_token: tokenizer.padToken,
        unk_token: tokenizer.unkToken,
      },
    }),
    E.mapLeft(fatalFromData),
    E.map((chatTemplate) => {
      const templated = {
        ...tokenizer,
        chatTemplate,
        files: { ...tokenizer.files, 'chat_template.jinja': source },
      };
      const recipe = recipeOf(tokenizer);
      if (recipe !== undefined) rememberRecipe(templated, { ...recipe, chatTemplate: source });
      return templated;
    }),
  );

/** The tokenizer that a recipe describes. */
export const tokenizerOfRecipe = ({ files, made, chatTemplate }: TokenizerRecipe): Either<FatalError, Tokenizer> => {
  const tokenizer = made === undefined ? tokenizerOfFiles(files) : tokenizerOfTables(files, made);
  return chatTemplate === undefined
    ? tokenizer
    : E.flatMap((plain: Tokenizer) => templatedTokenizer(plain, chatTemplate))(tokenizer);
};
