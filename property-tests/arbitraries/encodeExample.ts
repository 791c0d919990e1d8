/** The way back of `decodeExample`: an example as a row on disk. */
import type { JsonRecord } from '../../src/formats/json/jsonRecord.js';
import type { Example, Message, WeightedSpan } from '../../src/records.js';

/** A text as parts, a string where nothing is weighted. */
const partsOf = (text: string, weights: ReadonlyArray<WeightedSpan> = []): unknown => {
  if (weights.length === 0) return text;
  const parts: Array<JsonRecord> = [];
  let at = 0;
  const plain = (end: number): void => {
    if (end > at) parts.push({ type: 'text', text: text.slice(at, end) });
  };
  for (const { start, end, weight } of weights) {
    plain(start);
    parts.push({ type: 'text', text: text.slice(start, end), weight });
    at = end;
  }
  plain(text.length);
  return parts;
};

const moved = (weights: ReadonlyArray<WeightedSpan>, by: number): ReadonlyArray<WeightedSpan> =>
  weights.map(({ start, end, weight }) => ({ start: start + by, end: end + by, weight }));

type Pair = Extract<Example, { readonly kind: 'promptCompletion' }>;

const encodeMessage = ({ contentWeights, ...message }: Message): JsonRecord => ({
  ...message,
  content: partsOf(message.content, contentWeights),
});

/** A span on both sides of the border becomes two. */
const encodePair = ({ prompt, completion, textWeights: spans = [] }: Pair): JsonRecord => {
  const border = prompt.length;
  const before = spans.flatMap((span) => (span.start < border ? [{ ...span, end: Math.min(span.end, border) }] : []));
  const after = spans.flatMap((span) => (span.end > border ? [{ ...span, start: Math.max(span.start, border) }] : []));
  return { prompt: partsOf(prompt, before), completion: partsOf(completion, moved(after, -border)) };
};

/** An example as a row on disk. */
export const encodeExample = (example: Example): JsonRecord => {
  const weight = example.weight === undefined ? {} : { weight: example.weight };
  switch (example.kind) {
    case 'text':
      return { text: partsOf(example.text, example.textWeights), ...weight };
    case 'promptCompletion':
      return { ...encodePair(example), ...weight };
    case 'messages': {
      const { promptMessages = 0, tools, chatTemplateKwargs } = example;
      const messages = example.messages.map(encodeMessage);
      return {
        ...(promptMessages === 0
          ? { messages }
          : { prompt: messages.slice(0, promptMessages), completion: messages.slice(promptMessages) }),
        ...(tools === undefined ? {} : { tools }),
        ...(chatTemplateKwargs === undefined ? {} : { chat_template_kwargs: chatTemplateKwargs }),
        ...weight,
      };
    }
    case 'tokenized':
      return {
        input_ids: example.inputIds,
        ...(example.labels === undefined ? {} : { labels: example.labels }),
        ...(example.attentionMask === undefined ? {} : { attention_mask: example.attentionMask }),
        ...(example.positionIds === undefined ? {} : { position_ids: example.positionIds }),
        ...(example.lossWeights === undefined ? {} : { loss_weights: example.lossWeights }),
        ...weight,
      };
  }
};
