/** Arbitrary conversations and rows as data sets hold them. */
import fc from 'fast-check';
import { known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import type { Example, Message } from '../records.js';

/** Short texts: spaces, line breaks, characters of several code units, marks of templates and special tokens among them. */
export const texts = (): fc.Arbitrary<string> =>
  fc
    .array(
      fc.oneof(
        { weight: 4, arbitrary: fc.constantFrom('yes', ' well', ' ', '\n', 'a b', ' 😀', 'é', ' Zürich', '你好') },
        {
          weight: 1,
          arbitrary: fc.constantFrom('{{ x }}', '{% if %}', '[INST]', '###', '</', '"', '\\', '\t', '\u200b'),
        },
        { weight: 1, arbitrary: fc.string({ unit: 'grapheme', maxLength: 6 }) },
      ),
      { minLength: 1, maxLength: 6 },
    )
    .map((parts) => parts.join(''));

const toolCalls = (): fc.Arbitrary<ReadonlyArray<unknown>> =>
  fc.array(
    fc
      .tuple(
        fc.constantFrom('find', 'get_weather'),
        fc.dictionary(fc.constantFrom('city', 'unit'), texts(), { noNullPrototype: true }),
      )
      .map(([name, args]) => ({ type: 'function', function: { name, arguments: args } })),
    { minLength: 1, maxLength: 2 },
  );

/** What the conversations may hold. */
export interface ConversationOptions {
  /** Begin with a system prompt sometimes. Default true. */
  readonly system?: boolean | undefined;
  /** Let the assistant call tools, which answer. Default false. */
  readonly tools?: boolean | undefined;
  /** Exchanges of user and assistant, at most. Default 3. */
  readonly maxTurns?: number | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const conversationOptionNames: OptionNames<ConversationOptions> = {
  system: 'optional',
  tools: 'optional',
  maxTurns: 'optional',
};

/** Conversations that alternate user and assistant, each ending with the assistant. */
export const conversations = (options: ConversationOptions = {}): fc.Arbitrary<ReadonlyArray<Message>> => {
  const { system = true, tools = false, maxTurns = 3 } = known('conversations', conversationOptionNames, options);
  const turn = (question: string, answer: string): ReadonlyArray<Message> => [
    { role: 'user', content: question },
    { role: 'assistant', content: answer },
  ];
  const withCalls = fc
    .tuple(texts(), toolCalls(), texts(), texts())
    .map(
      ([question, calls, result, answer]): ReadonlyArray<Message> => [
        { role: 'user', content: question },
        { role: 'assistant', content: '', tool_calls: calls },
        ...calls.map((): Message => ({ role: 'tool', content: result })),
        { role: 'assistant', content: answer },
      ],
    );
  const exchange = fc.tuple(texts(), texts()).map(([question, answer]) => turn(question, answer));
  return fc
    .tuple(
      system ? fc.option(texts(), { nil: undefined }) : fc.constant(undefined),
      fc.array(tools ? fc.oneof(exchange, withCalls) : exchange, { minLength: 1, maxLength: maxTurns }),
    )
    .map(([first, turns]) => [...(first === undefined ? [] : [{ role: 'system', content: first }]), ...turns.flat()]);
};

const weight = (): fc.Arbitrary<{ readonly weight?: number }> =>
  fc
    .option(fc.constantFrom(0, 0.5, 2), { nil: undefined })
    .map((value) => (value === undefined ? {} : { weight: value }));

/** Rows of every shape: text, prompt and completion, conversations, ids; some with a weight. */
export const examples = (options: ConversationOptions = {}): fc.Arbitrary<Example> => {
  known('examples', conversationOptionNames, options);
  return fc.oneof(
    fc.tuple(texts(), weight()).map(([text, rest]): Example => ({ kind: 'text', text, ...rest })),
    fc
      .tuple(texts(), texts(), weight())
      .map(([prompt, completion, rest]): Example => ({ kind: 'promptCompletion', prompt, completion, ...rest })),
    fc.tuple(conversations(options), fc.boolean(), weight()).map(
      ([messages, split, rest]): Example => ({
        kind: 'messages',
        messages,
        ...(split ? { promptMessages: messages.length - 1 } : {}),
        ...rest,
      }),
    ),
    fc
      .array(fc.integer({ min: 0, max: 40 }), { maxLength: 9 })
      .chain((inputIds) =>
        fc.boolean().map((given): Example => ({ kind: 'tokenized', inputIds, ...(given ? { labels: inputIds } : {}) })),
      ),
  );
};
