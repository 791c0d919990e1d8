/**
 * What decides the rows of a data set, the ids of a tokenizer, the text of a template, as plain values that can be compared and
 * hashed. Only what this library made from files is known; it is kept beside the values, not in them, so that a changed copy of one
 * (`{ ...tokenizer, encode }`) never passes for the original.
 */

import { createHash } from 'node:crypto';

export interface Identity {
  /** JSON, equal only where the values give equal things. */
  readonly told: unknown;
  /** False when what it was told from has changed since. */
  readonly holds: () => Promise<boolean>;
}

/** Undefined where it cannot be said. May read files, and throw what reading throws. */
export type Tell = () => Promise<Identity | undefined>;

const tellers = new WeakMap<object, Tell>();

export const identified = <A extends object>(value: A, tell: Tell): A => {
  tellers.set(value, tell);
  return value;
};

/** Undefined for what came from elsewhere. */
export const identityOf = async (value: object): Promise<Identity | undefined> => await tellers.get(value)?.();

/** Of what never changes. */
export const lasting =
  (told: () => unknown): Tell =>
  () =>
    Promise.resolve({ told: told(), holds: () => Promise.resolve(true) });

/** Of functions made from texts, which are hashed when that is first asked for. */
export const madeFrom = (functions: ReadonlyArray<object>, texts: () => ReadonlyArray<string>): void => {
  let digest: string | undefined;
  const tell = lasting(() => {
    if (digest === undefined) {
      const hash = createHash('sha256');
      for (const text of texts()) hash.update(`${text.length}:`).update(text);
      digest = hash.digest('hex');
    }
    return digest;
  });
  for (const one of functions) identified(one, tell);
};

/** Of what is made of others, all of which must be known. */
export const madeOf =
  (parts: ReadonlyArray<object>, tell: (told: ReadonlyArray<unknown>) => unknown): Tell =>
  async () => {
    const identities: Array<Identity> = [];
    for (const part of parts) {
      const identity = await identityOf(part);
      if (identity === undefined) return undefined;
      identities.push(identity);
    }
    return {
      told: tell(identities.map(({ told }) => told)),
      holds: async () => (await Promise.all(identities.map(({ holds }) => holds()))).every(Boolean),
    };
  };
