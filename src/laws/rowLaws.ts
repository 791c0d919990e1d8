/** Laws of stages that make, cut and join rows. */
import fc from 'fast-check';
import { isLeft } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { known } from '../checked.js';
import type { DataError } from '../errors.js';
import type { ChatTemplate } from '../formats/templates/chatTemplate.js';
import { promptPrefixFaults } from '../formats/templates/promptPrefix.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import { columnsOf } from '../operators/columns.js';
import type { Example, Labelled, Message, Row } from '../records.js';
import { ignoreIndex } from '../records.js';
import { promptTokens } from '../train/generating/promptTokens.js';
import { conversations, texts } from './conversations.js';
import { hold, law, same, lawOptionNames } from './law.js';
import type { Law, LawOptions } from './law.js';

const labelOf = (id: number): number => (id % 3 === 0 ? ignoreIndex : id);

/** Rows each of whose columns is a function of its id, so that a shifted column shows at once. */
const told = (ids: ReadonlyArray<ReadonlyArray<number>>): ReadonlyArray<ToldRow> =>
  ids.map((row) => ({
    inputIds: Int32Array.from(row),
    seqLengths: [row.length],
    labels: Int32Array.from(row, labelOf),
    lossWeights: Float32Array.from(row, (id) => id / 4),
    own: Uint16Array.from(row, (id) => 7 * id),
  }));

/** A labelled row with a further column, by which `columnsAligned` knows each token again. */
export interface ToldRow extends Labelled {
  readonly lossWeights: Float32Array;
  /** A column that no stage knows. */
  readonly own: Uint16Array;
}

const idRows = (): fc.Arbitrary<ReadonlyArray<ReadonlyArray<number>>> =>
  fc.array(fc.array(fc.integer({ min: 0, max: 30 }), { maxLength: 9 }), { maxLength: 12 });

/** Columns aligned: cutting, packing, dropping rows leaves each token its own label, weight and any further column. */
export const columnsAligned = (
  stage: (rows: ReadonlyArray<ToldRow>) => ReadonlyArray<ToldRow>,
  options: LawOptions = {},
): Law => {
  known('columnsAligned', lawOptionNames, options);
  return law(
    'each token keeps its own columns',
    fc.property(idRows(), (ids) => {
      for (const row of stage(told(ids))) {
        const { inputIds, seqLengths, labels, lossWeights, own } = row;
        const length = inputIds.length;
        same(
          seqLengths.reduce((sum, part) => sum + part, 0),
          length,
          'tokens of the documents',
        );
        same(columnsOf(row).length, 4, 'columns as long as the row');
        same([...labels], Array.from(inputIds, labelOf), 'labels');
        same(
          [...lossWeights],
          Array.from(inputIds, (id) => id / 4),
          'weights',
        );
        same(
          [...own],
          Array.from(inputIds, (id) => 7 * id),
          'a column of its own',
        );
      }
    }),
    options,
  );
};

/** What a stage keeps, and how hard the law is tried. */
export interface TokensKeptOptions extends LawOptions {
  /** Whether tokens keep their order. Default false. */
  readonly ordered?: boolean | undefined;
}

/** Nothing lost: what comes out are the tokens that went in, each as often; in their order too where `ordered` (false unless said). */
export const tokensKept = (
  stage: (rows: ReadonlyArray<ToldRow>) => ReadonlyArray<Row>,
  options: TokensKeptOptions = {},
): Law => {
  const { ordered = false, ...lawOptions } = known('tokensKept', { ...lawOptionNames, ordered: 'optional' }, options);
  return law(
    'no token is lost or doubled',
    fc.property(idRows(), (ids) => {
      const before = ids.flat();
      const after = stage(told(ids)).flatMap(({ inputIds }) => [...inputIds]);
      const compared = (values: ReadonlyArray<number>): ReadonlyArray<number> =>
        ordered ? values : [...values].sort((a, b) => a - b);
      same(compared(after), compared(before), 'tokens');
    }),
    lawOptions,
  );
};

/** A way of your own from an example to a labelled row. */
export type PrepareExample = (example: Example) => Either<DataError, Labelled>;

const trainedText = ({ inputIds, labels }: Labelled, decode: Tokenizer['decode']): string =>
  decode(inputIds.filter((_, t) => labels[t] !== ignoreIndex));

/**
 * The prompt never labelled: of a prompt/completion row nothing of the prompt is trained. The prompt spells what no completion
 * holds, so that one letter of it among the trained text breaks the law.
 */
export const promptNeverLabelled = (
  prepare: PrepareExample,
  tokenizer: Pick<Tokenizer, 'decode'>,
  options: LawOptions = {},
): Law => {
  known('promptNeverLabelled', lawOptionNames, options);
  const mark = 'ΩΨ';
  return law(
    'no token of a prompt has a label',
    fc.property(texts(), texts(), (prompt, completion) => {
      fc.pre(!completion.includes('Ω') && !completion.includes('Ψ'));
      const spelt = `${prompt} `.replace(/\S/gu, mark);
      const row = prepare({ kind: 'promptCompletion', prompt: spelt + mark, completion: ` ${completion}` });
      if (isLeft(row)) return;
      const text = trainedText(row.right, tokenizer.decode);
      hold(!/[ΩΨ]/.test(text), `of the prompt is trained: ${JSON.stringify(text)}`);
    }),
    options,
  );
};

/** Which conversations a law of prompts is tried on, and how hard. */
export interface PromptLawOptions extends LawOptions {
  /** Default: `conversations()`. */
  readonly conversation?: fc.Arbitrary<ReadonlyArray<Message>> | undefined;
}

/** The prompt a prefix: at every turn, what the model is asked with is how its training row begins, in text. */
export const promptIsPrefix = (template: ChatTemplate, options: PromptLawOptions = {}): Law => {
  const { conversation = conversations(), ...lawOptions } = known(
    'promptIsPrefix',
    { ...lawOptionNames, conversation: 'optional' },
    options,
  );
  return law(
    'what is asked at a turn is how the training row begins',
    fc.property(conversation, (messages) => {
      const faults = promptPrefixFaults(template, { messages });
      if (isLeft(faults)) return;
      const [first] = faults.right;
      hold(
        first === undefined,
        `turn ${first?.message ?? 0} is asked otherwise from character ${first?.at ?? 0} on: ${JSON.stringify(first?.prompt.slice(-80))}`,
      );
    }),
    lawOptions,
  );
};

/** The prompt a prefix, in tokens: `promptTokens` of a conversation without its answer begins the row it is trained as. */
export const promptTokensArePrefix = (
  tokenizer: Tokenizer,
  prepare: PrepareExample,
  options: PromptLawOptions = {},
): Law => {
  const { conversation = conversations(), ...lawOptions } = known(
    'promptTokensArePrefix',
    { ...lawOptionNames, conversation: 'optional' },
    options,
  );
  const tokensOf = promptTokens({ tokenizer });
  return law(
    'the tokens of a prompt are how the training row begins',
    fc.property(conversation, (messages) => {
      const asked = tokensOf({ kind: 'messages', messages: messages.slice(0, -1) });
      const row = prepare({ kind: 'messages', messages });
      if (isLeft(asked) || isLeft(row)) return;
      same([...row.right.inputIds.subarray(0, asked.right.length)], [...asked.right], 'the tokens the row begins with');
    }),
    lawOptions,
  );
};
