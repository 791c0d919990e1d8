/**
 * Rows of data sets → `Example`. Which shape a row has is told by its columns, in this order; a column that is null counts as
 * absent, further columns never matter.
 *
 * 1. a bare string, or the text column that the caller named
 * 2. `input_ids` (and `labels`, `attention_mask`, `position_ids`, `completion_mask`, `assistant_masks`, `loss_weights`)
 * 3. `messages`, 4. `conversations`: role/content or from/value; with `tools`, `documents`, `system`, `chat_template_kwargs`
 * 5. `prompt` and `completion`: both text, or both lists of messages
 * 6. `instruction` and `output` or `response`, with `input` or `context`, `system`, `history` (Alpaca, Dolly)
 * 7. `question` and `answer` (GSM8K)
 * 8. `text`
 *
 * Any row may have a `weight`: how much its loss counts. A text may be a list of parts `{"text": …, "weight": …}`, each with a
 * weight of its own; rows of ids may have `loss_weights`, one a token.
 */
import * as E from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import { optionsFault } from '../../checked.js';
import { dataError } from '../../errors.js';
import type { DataError, Place } from '../../errors.js';
import type { Example, Message, WeightedSpan } from '../../records.js';
import { describe, kindOf } from '../describe.js';
import { isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { nearest } from '../../nearest.js';
import { alpacaPrompt } from './alpacaPrompt.js';
import { isTextual, messagesOf, textOf, weightOf, wrongType } from './conversation.js';
import type { WeightedText } from './conversation.js';
import { conversation, messagesRow } from './conversationRow.js';
import { has, textIn, textOrNone, type Decoded, type ExampleOf, type Rows } from './rowColumns.js';
import { tokenizedRow } from './tokenizedRow.js';

/** The shapes that `decodeExample` knows, each by the columns that tell it. */
export type FormatName =
  | 'tokenized'
  | 'messages'
  | 'conversations'
  | 'prompt/completion'
  | 'instruction'
  | 'question/answer'
  | 'text';

/** How rows are decoded. */
export interface ExampleOptions {
  /** The column that holds the text. When named here, it wins over every other shape; otherwise `text` is looked at last. */
  readonly datasetTextField?: string | undefined;
}

/** The example with the row's weight, if it has one. */
const weighted = <A extends Example>(example: Decoded<A>, row: JsonRecord, place: Place): Decoded<A> => {
  if (E.isLeft(example) || !has(row, 'weight')) return example;
  return E.map((weight: number | undefined) => (weight === undefined ? example.right : { ...example.right, weight }))(
    weightOf(row['weight'], 'weight', place),
  );
};

// --- prompt and completion -------------------------------------------------------------------------------------------------

const moved = (weights: ReadonlyArray<WeightedSpan>, by: number): ReadonlyArray<WeightedSpan> =>
  weights.map(({ start, end, weight }) => ({ start: start + by, end: end + by, weight }));

const textWeights = (weights: ReadonlyArray<WeightedSpan>): { readonly textWeights?: ReadonlyArray<WeightedSpan> } =>
  weights.length === 0 ? {} : { textWeights: weights };

const textualPair = (prompt: WeightedText, completion: WeightedText): ExampleOf<'promptCompletion'> => ({
  kind: 'promptCompletion',
  prompt: prompt.text,
  completion: completion.text,
  ...textWeights([...prompt.weights, ...moved(completion.weights, prompt.text.length)]),
});

const promptCompletionRow: Rows<ExampleOf<'promptCompletion' | 'messages'>> = (row, place) => {
  const { prompt, completion } = row;
  if (isTextual(prompt) && isTextual(completion)) {
    const asked = textOf(prompt, 'prompt', place);
    if (E.isLeft(asked)) return asked;
    const answered = textOf(completion, 'completion', place);
    return E.isLeft(answered) ? answered : E.right(textualPair(asked.right, answered.right));
  }
  if (Array.isArray(prompt) && Array.isArray(completion)) {
    const asked = messagesOf(prompt, 'prompt', place);
    if (E.isLeft(asked)) return asked;
    const answered = messagesOf(completion, 'completion', place);
    if (E.isLeft(answered)) return answered;
    return conversation(row, [...asked.right, ...answered.right], place, asked.right.length);
  }
  const [column, value] =
    typeof prompt === 'string' || Array.isArray(prompt)
      ? (['completion', completion] as const)
      : (['prompt', prompt] as const);
  const expected =
    column === 'prompt'
      ? 'a string, or a list of messages'
      : `${typeof prompt === 'string' ? 'a string' : 'a list of messages'}, as the prompt is`;
  return E.left(wrongType(column, expected, value, place));
};

// --- Alpaca ----------------------------------------------------------------------------------------------------------------

const historyOf = (value: unknown, place: Place): Decoded<ReadonlyArray<Message>> => {
  const expected = 'a list of [question, answer] pairs';
  if (value === undefined || value === null) return E.right([]);
  if (!Array.isArray(value)) return E.left(wrongType('history', expected, value, place));
  const messages: Array<Message> = [];
  for (const [i, turn] of value.entries()) {
    const pair: ReadonlyArray<unknown> = Array.isArray(turn) ? turn : [];
    const [question, answer] = pair;
    if (typeof question !== 'string' || typeof answer !== 'string' || pair.length !== 2) {
      return E.left(wrongType(`history.${i}`, '[question, answer]', turn, place));
    }
    messages.push({ role: 'user', content: question }, { role: 'assistant', content: answer });
  }
  return E.right(messages);
};

/** With a history or a system prompt the row is a conversation; otherwise its prompt is Stanford Alpaca's. */
const instructionRow: Rows<ExampleOf<'promptCompletion' | 'messages'>> = (row, place) => {
  const texts: Array<string> = [];
  for (const text of [
    textIn(row, 'instruction', place),
    textOrNone(row, has(row, 'input') ? 'input' : 'context', place),
    textIn(row, has(row, 'output') ? 'output' : 'response', place),
  ]) {
    if (E.isLeft(text)) return text;
    texts.push(text.right);
  }
  const [instruction = '', input = '', output = ''] = texts;
  const history = historyOf(row['history'], place);
  if (E.isLeft(history)) return history;
  if (history.right.length === 0 && (row['system'] ?? '') === '') {
    return E.right({ kind: 'promptCompletion', prompt: alpacaPrompt(instruction, input), completion: output });
  }
  const asked = { role: 'user', content: input === '' ? instruction : `${instruction}\n${input}` };
  return conversation(row, [...history.right, asked, { role: 'assistant', content: output }], place);
};

// --- question and answer, text ---------------------------------------------------------------------------------------------

/** A line feed parts the two, as in openai/grade-school-math. */
const questionAnswerRow: Rows<ExampleOf<'promptCompletion'>> = (row, place) => {
  const question = textIn(row, 'question', place);
  if (E.isLeft(question)) return question;
  const answer = textIn(row, 'answer', place);
  if (E.isLeft(answer)) return answer;
  return E.right({ kind: 'promptCompletion', prompt: `${question.right}\n`, completion: answer.right });
};

const textRow =
  (column: string): Rows<ExampleOf<'text'>> =>
  (row, place) => {
    const value = row[column];
    if (!isTextual(value)) return E.left(wrongType(column, 'a string', value, place));
    return E.map(
      ({ text, weights }: WeightedText): ExampleOf<'text'> => ({ kind: 'text', text, ...textWeights(weights) }),
    )(textOf(value, column, place));
  };

// --- recognition -----------------------------------------------------------------------------------------------------------

interface Column {
  /** Any one of these names will do. */
  readonly names: ReadonlyArray<string>;
  readonly expected: string;
  readonly fits: (value: unknown) => boolean;
}

interface Shape {
  readonly name: FormatName;
  /** All of them must be there. */
  readonly columns: ReadonlyArray<Column>;
  readonly decode: Rows<Example>;
}

const isText = (value: unknown): boolean => typeof value === 'string';
const text = (...names: ReadonlyArray<string>): Column => ({ names, expected: 'a string', fits: isText });
const messageList = (name: string): Column => ({ names: [name], expected: 'a list of messages', fits: Array.isArray });
const textOrMessages = (name: string): Column => ({
  names: [name],
  expected: 'a string or a list of messages',
  fits: (value) => isText(value) || Array.isArray(value),
});

const tokenizedShape: Shape = {
  name: 'tokenized',
  columns: [{ names: ['input_ids'], expected: 'a list of token ids', fits: Array.isArray }],
  decode: tokenizedRow,
};
const messagesShape: Shape = {
  name: 'messages',
  columns: [messageList('messages')],
  decode: messagesRow('messages'),
};
const conversationsShape: Shape = {
  name: 'conversations',
  columns: [messageList('conversations')],
  decode: messagesRow('conversations'),
};
const promptCompletionShape: Shape = {
  name: 'prompt/completion',
  columns: [textOrMessages('prompt'), textOrMessages('completion')],
  decode: promptCompletionRow,
};
const instructionShape: Shape = {
  name: 'instruction',
  columns: [text('instruction'), text('output', 'response')],
  decode: instructionRow,
};
const questionAnswerShape: Shape = {
  name: 'question/answer',
  columns: [text('question'), text('answer')],
  decode: questionAnswerRow,
};
const textShape = (column: string): Shape => ({
  name: 'text',
  columns: [{ names: [column], expected: 'a string', fits: isTextual }],
  decode: textRow(column),
});

const shapesByColumns: ReadonlyArray<Shape> = [
  tokenizedShape,
  messagesShape,
  conversationsShape,
  promptCompletionShape,
  instructionShape,
  questionAnswerShape,
  textShape('text'),
];

const shapesFor = ({ datasetTextField }: ExampleOptions): ReadonlyArray<Shape> =>
  datasetTextField === undefined
    ? shapesByColumns
    : [textShape(datasetTextField), ...shapesByColumns.filter(({ name }) => name !== 'text')];

const holds = (row: JsonRecord, { columns }: Shape): boolean =>
  columns.every(({ names }) => names.some((name) => has(row, name)));

/** A column, or several of which any would do, that a shape wants, and what a row has there. */
export interface ColumnReport {
  /** The column's name; several when any of them would do. */
  readonly names: ReadonlyArray<string>;
  /** What belongs there. */
  readonly expected: string;
  /** What stands there: "missing", "null", "a string", … */
  readonly actual: string;
  /** Whether it does. */
  readonly ok: boolean;
}

/** What was looked for in a row and what was found: the same knowledge that `decodeExample` acts on, as a value. */
export interface FormatReport {
  /** The shape the row is taken for; undefined when no shape's columns are all there. */
  readonly format?: FormatName;
  /** What the row decodes to. */
  readonly kind?: Example['kind'];
  /** Why it is refused, though its shape may have been recognised. */
  readonly error?: DataError;
  /** Names of the columns that the row has. */
  readonly columns: ReadonlyArray<string>;
  /** Each known shape, and whether its columns are there. */
  readonly shapes: ReadonlyArray<{
    readonly format: FormatName;
    readonly matches: boolean;
    readonly columns: ReadonlyArray<ColumnReport>;
  }>;
}

const reportColumn = (row: JsonRecord, { names, expected, fits }: Column): ColumnReport => {
  const present = names.find((name) => has(row, name));
  const value = present === undefined ? undefined : row[present];
  return {
    names: present === undefined ? names : [present],
    expected,
    actual: present !== undefined ? kindOf(value) : names.some((name) => row[name] === null) ? 'null' : 'missing',
    ok: present !== undefined && fits(value),
  };
};

const reportShapes = (row: JsonRecord, shapes: ReadonlyArray<Shape>): FormatReport['shapes'] =>
  shapes.map((shape) => ({
    format: shape.name,
    matches: holds(row, shape),
    columns: shape.columns.map((column) => reportColumn(row, column)),
  }));

/** `E_NO_TEXT_SOURCE`: no shape's columns are all there; the message goes through the shapes column by column. */
const unrecognised = (row: JsonRecord, shapes: ReadonlyArray<Shape>, place: Place): DataError => {
  const lines = reportShapes(row, shapes).map(
    ({ format, columns }) =>
      `\n  ${format}: ${columns
        .filter(({ ok }) => !ok)
        .map(({ names, actual }) => `"${names.join('" or "')}" is ${actual}`)
        .join(', ')}`,
  );
  const columns = Object.keys(row);
  const strings = columns.filter((column) => isText(row[column]));
  const known = shapes.flatMap((shape) => shape.columns.flatMap(({ names }) => names));
  const misspelt = columns
    .map((column) => [column, nearest(column, known)] as const)
    .find(([column, meant]) => meant !== undefined && !known.includes(column));
  const hint =
    misspelt?.[1] !== undefined
      ? `did you mean "${misspelt[1]}" by "${misspelt[0]}"?`
      : strings.length > 0
        ? `name the column that holds the text, datasetTextField "${strings[0] ?? ''}", or make such columns with formattingFunc`
        : undefined;
  return dataError('E_NO_TEXT_SOURCE', `the row has none of the known shapes${lines.join('')}`, {
    ...place,
    expected: 'the columns of one of these shapes',
    actual: columns.length === 0 ? 'a row without columns' : `columns ${columns.join(', ')}`,
    ...(hint === undefined ? {} : { hint }),
  });
};

const wrongNames = optionsFault('decodeExample', { datasetTextField: 'optional' });

/**
 * A row as it came → `Example`. Its columns tell the shape, in this order: `input_ids`; `messages` or `conversations`; `prompt` and
 * `completion`; `instruction` and `output`; `question` and `answer`; `text` (docs/data.md has them all). `place` goes into the error:
 * `E_ROW_TYPE`, `E_NO_TEXT_SOURCE` with what each shape lacks, `E_FIELD_TYPE`, …
 */
export const decodeExample = (
  value: unknown,
  place: Place = {},
  options: ExampleOptions = {},
): Either<DataError, Example> => {
  const fault = wrongNames(options);
  if (fault !== undefined) return E.left(dataError(fault.code, fault.message, fault.details));
  if (typeof value === 'string') return E.right({ kind: 'text', text: value });
  if (!isJsonRecord(value)) {
    return E.left(
      dataError('E_ROW_TYPE', `the row is ${kindOf(value)}`, {
        ...place,
        expected: 'a record, or a string',
        actual: describe(value),
      }),
    );
  }
  const shapes = shapesFor(options);
  const shape = shapes.find((candidate) => holds(value, candidate));
  return shape === undefined
    ? E.left(unrecognised(value, shapes, place))
    : weighted(shape.decode(value, place), value, place);
};

/** How a row is understood, and why not otherwise. */
export const recogniseFormat = (value: unknown, options: ExampleOptions = {}): FormatReport => {
  const decoded = decodeExample(value, {}, options);
  const outcome = E.isLeft(decoded) ? { error: decoded.left } : { kind: decoded.right.kind };
  if (!isJsonRecord(value)) {
    return { ...outcome, ...(typeof value === 'string' ? { format: 'text' as const } : {}), columns: [], shapes: [] };
  }
  const shapes = reportShapes(value, shapesFor(options));
  const format = shapes.find(({ matches }) => matches)?.format;
  return { ...outcome, ...(format === undefined ? {} : { format }), columns: Object.keys(value), shapes };
};
