import type { AddedToken } from './addedTokens.js';
import type { Vocabulary } from './vocabulary.js';

/** Tokens by name and id, those of the vocabulary and added ones together. */
export interface TokenNames {
  readonly tokenToId: (token: string) => number | undefined;
  readonly idToToken: (id: number) => string | undefined;
  readonly isSpecial: (id: number) => boolean;
  /** How many there are. */
  readonly count: number;
}

const countOf = (vocab: Vocabulary, added: ReadonlyMap<string, number>): number => {
  let count = vocab.size;
  for (const token of added.keys()) if (vocab.get(token) === undefined) count++;
  return count;
};

/** Added tokens go before those of the vocabulary. */
export const tokenNames = (addedTokens: ReadonlyArray<AddedToken>, vocab: Vocabulary): TokenNames => {
  const byContent = new Map(addedTokens.map((token) => [token.content, token.id]));
  const byId = new Map(addedTokens.map((token) => [token.id, token.content]));
  const special = new Set(addedTokens.filter((token) => token.special).map(({ id }) => id));
  return {
    tokenToId: (token) => byContent.get(token) ?? vocab.get(token),
    idToToken: (id) => byId.get(id) ?? vocab.tokenAt(id),
    isSpecial: (id) => special.has(id),
    count: countOf(vocab, byContent),
  };
};
