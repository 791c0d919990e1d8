/**
 * `rxtune/laws`: laws to hold your own operators against, and arbitrary data to do it with. Needs fast-check. A law is a name and a
 * check that settles or rejects with the smallest counterexample: for any test runner, `test(name, check)`.
 */
export { checkAll, law } from './law.js';
export type { Law, LawOptions } from './law.js';

// arbitrary data
export { conversations, examples, texts } from './conversations.js';
export type { ConversationOptions } from './conversations.js';
export { specials, wordTokenizer, wordTokenizers } from './tokenizers.js';
export type { WordTokenizerOptions } from './tokenizers.js';
export { batches, labelledRows, tokenizedRows } from './rows.js';
export type { RowOptions } from './rows.js';
export { beats, endlessly, pacedIterable, pacedObservable, watchedIterable } from './pace.js';
export type { Beat, PaceOptions, Watched } from './pace.js';

// laws
export { boundedInFlight, operatorLaws, orderKept, rightsOf } from './operatorLaws.js';
export type { InFlightOptions, MakeOperator, OperatorLawOptions } from './operatorLaws.js';
export { columnsAligned, promptIsPrefix, promptNeverLabelled, promptTokensArePrefix, tokensKept } from './rowLaws.js';
export type { PrepareExample, PromptLawOptions, TokensKeptOptions, ToldRow } from './rowLaws.js';
