import { right } from 'fp-ts/lib/Either.js';
import fc from 'fast-check';
import type { ChatTemplate, Provenance } from '../../src/formats/templates/chatTemplate.js';
import type { Example, Message, Span } from '../../src/records.js';

/** Short texts, spaces, line breaks and characters of several code units among them. */
export const texts = (): fc.Arbitrary<string> =>
  fc
    .array(fc.constantFrom('yes', 'no', ' well', ' ', '\n', 'a b', ' 😀', 'é', '<', ' Zürich'), {
      minLength: 1,
      maxLength: 6,
    })
    .map((parts) => parts.join(''));

export const messages = (): fc.Arbitrary<ReadonlyArray<Message>> =>
  fc
    .tuple(fc.boolean(), fc.array(fc.tuple(texts(), texts()), { minLength: 1, maxLength: 3 }), texts())
    .map(([system, turns, first]) => [
      ...(system ? [{ role: 'system', content: first }] : []),
      ...turns.flatMap(([user, assistant]) => [
        { role: 'user', content: user },
        { role: 'assistant', content: assistant },
      ]),
    ]);

/** A ChatML-like template with what C's renderer would say of it. `bos`: prints BOS in front. */
export const markedTemplate = ({ bos = false }: { readonly bos?: boolean } = {}): ChatTemplate => ({
  source: 'marked',
  render: ({ messages: all, addGenerationPrompt = false }) => {
    let text = bos ? '<s>' : '';
    const assistantSpans: Array<Span> = [];
    const provenance: Array<Provenance> = [];
    const part = (value: string, message: number, role: string, field: string): void => {
      provenance.push({ start: text.length, end: text.length + value.length, message, role, field });
      text += value;
    };
    for (const [index, { role, content }] of all.entries()) {
      text += '<|start|>';
      part(role, index, role, 'role');
      text += '\n';
      const start = text.length;
      part(content, index, role, 'content');
      text += '<|end|>';
      if (role === 'assistant') assistantSpans.push({ start, end: text.length });
      text += '\n';
    }
    if (addGenerationPrompt) text += '<|start|>assistant\n';
    return right({ text, assistantSpans, provenance });
  },
});

const weight = (): fc.Arbitrary<{ readonly weight?: number }> =>
  fc
    .option(fc.constantFrom(0, 0.5, 2), { nil: undefined })
    .map((value) => (value === undefined ? {} : { weight: value }));

/** Rows of every shape. */
export const examples = (): fc.Arbitrary<Example> =>
  fc.oneof(
    fc.tuple(texts(), weight()).map(([text, rest]): Example => ({ kind: 'text', text, ...rest })),
    fc
      .tuple(texts(), texts(), weight())
      .map(([prompt, completion, rest]): Example => ({ kind: 'promptCompletion', prompt, completion, ...rest })),
    fc.tuple(messages(), fc.boolean(), weight()).map(
      ([all, split, rest]): Example => ({
        kind: 'messages',
        messages: all,
        ...(split ? { promptMessages: all.length - 1 } : {}),
        ...rest,
      }),
    ),
    fc
      .array(fc.integer({ min: 0, max: 40 }), { maxLength: 9 })
      .chain((inputIds) =>
        fc
          .boolean()
          .map((labelled): Example => ({ kind: 'tokenized', inputIds, ...(labelled ? { labels: inputIds } : {}) })),
      ),
  );
