/**
 * The part of @huggingface/tokenizers 0.2.0 that is used here, typed: its own declarations import without file extensions,
 * which Node's resolution does not follow.
 */
import * as library from '@huggingface/tokenizers';

export interface ReferenceTokenizer {
  readonly encode: (
    text: string,
    options: { readonly add_special_tokens: boolean },
  ) => { readonly ids: number[]; readonly tokens: string[] };
  readonly decode: (
    ids: number[],
    options: { readonly skip_special_tokens: boolean; readonly clean_up_tokenization_spaces: boolean },
  ) => string;
  readonly decoder: { readonly decode: (tokens: string[]) => string } | null;
}

interface Library {
  readonly Tokenizer: new (tokenizerJson: object, config: object) => ReferenceTokenizer;
  readonly SplitPreTokenizer: new (config: object) => { readonly pattern: RegExp | null };
}

export const { Tokenizer, SplitPreTokenizer } = library as unknown as Library;
