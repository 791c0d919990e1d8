import { pipe } from 'rxjs';

/**
 * Several operators as one, the first first: `compose(decode(decodeExample), format({ tokenizer }), tokenize({ tokenizer }))`. Up to nine
 * keep their types; group more. This is rxjs's `pipe`; the bare name is fp-ts's.
 */
export const compose: typeof pipe = pipe;
