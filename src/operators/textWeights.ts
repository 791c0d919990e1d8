/** Loss weights of rows, messages and stretches of text, carried to the characters of the text that they become. */
import type { Rendered } from '../formats/templates/chatTemplate.js';
import type { Formatted, Message, Span, WeightedSpan } from '../records.js';

/** Spans end to end over the whole text: those given, times the row's weight, and the row's weight in between. */
export const spread = (
  length: number,
  weight: number | undefined,
  spans: ReadonlyArray<WeightedSpan> = [],
): Pick<Formatted, 'weights'> => {
  if (weight === undefined && spans.length === 0) return {};
  const row = weight ?? 1;
  const weights: Array<WeightedSpan> = [];
  let at = 0;
  const fill = (end: number): void => {
    if (end > at) weights.push({ start: at, end, weight: row });
  };
  for (const span of spans) {
    fill(span.start);
    weights.push({ ...span, weight: row * span.weight });
    at = span.end;
  }
  fill(length);
  return { weights };
};

/** Where each message stands in the rendered text, its end-of-turn mark included when the template tells. */
const messageSpans = ({ provenance, assistantSpans }: Rendered): ReadonlyMap<number, Span> => {
  const spans = new Map<number, Span>();
  for (const { message, start, end } of provenance) {
    if (message === undefined) continue;
    const own = spans.get(message);
    spans.set(
      message,
      own === undefined ? { start, end } : { start: Math.min(own.start, start), end: Math.max(own.end, end) },
    );
  }
  for (const [message, own] of spans) {
    for (const { start, end } of assistantSpans) {
      if (start < own.end && end > own.start && end > own.end) spans.set(message, { start: own.start, end });
    }
  }
  return spans;
};

/** A span of one weight, the stretches inside it of a weight of their own cut out. Both in order, stretches apart. */
const cutOut = (span: WeightedSpan, inner: ReadonlyArray<WeightedSpan>): ReadonlyArray<WeightedSpan> => {
  const pieces: Array<WeightedSpan> = [];
  let at = span.start;
  for (const { start, end, weight } of inner) {
    if (start > at) pieces.push({ start: at, end: start, weight: span.weight });
    pieces.push({ start, end, weight: span.weight * weight });
    at = end;
  }
  if (span.end > at) pieces.push({ start: at, end: span.end, weight: span.weight });
  return pieces;
};

/** Weights of messages and of stretches of their content, times the row's; what has none has the row's. */
export const weightsOf = (
  rendered: Rendered,
  messages: ReadonlyArray<Message>,
  row: number | undefined,
): Pick<Formatted, 'weights'> => {
  const spans = messageSpans(rendered);
  const weighted: Array<WeightedSpan> = [];
  for (const [index, { weight, contentWeights = [] }] of messages.entries()) {
    const span = spans.get(index);
    if (span === undefined || (weight === undefined && contentWeights.length === 0)) continue;
    const start = Math.max(span.start, weighted.at(-1)?.end ?? 0);
    const inner = rendered.provenance.flatMap((piece) => {
      const own = piece.message === index && piece.part !== undefined ? contentWeights[piece.part] : undefined;
      return own === undefined || piece.start < start ? [] : [{ ...piece, weight: own.weight }];
    });
    if (span.end > start) weighted.push(...cutOut({ start, end: span.end, weight: weight ?? 1 }, inner));
  }
  return spread(rendered.text.length, row, weighted);
};
