/** What a model is to write when it has said all: EOS, and the end of turn of the chat template. */
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';

/** Whether the ids up to and with position `t` end with the sequence. */
export const endsWithStop = (ids: ArrayLike<number>, t: number, stop: ReadonlyArray<number>): boolean =>
  stop.length > 0 && stop.length <= t + 1 && stop.every((id, i) => ids[t + 1 - stop.length + i] === id);

/**
 * What the template writes behind an answer, as ids: with the white space in front of it and without, because both may be cut
 * into other tokens. Nothing where it writes nothing or cannot be asked.
 */
const endsOfTurn = ({ chatTemplate, encode }: Tokenizer): ReadonlyArray<ReadonlyArray<number>> => {
  const content = 'answer';
  const rendered = chatTemplate?.render({
    messages: [
      { role: 'user', content: 'question' },
      { role: 'assistant', content },
    ],
  });
  if (rendered?._tag !== 'Right') return [];
  const { text, assistantSpans } = rendered.right;
  const span = assistantSpans.at(-1);
  if (span === undefined) return [];
  const said = text.slice(span.start, span.end);
  const mark = said.slice(said.lastIndexOf(content) + content.length).trimEnd();
  return [...new Set([mark, mark.trimStart()])]
    .filter((own) => own !== '')
    .map((own) => [...encode(own, { addSpecialTokens: false })]);
};

/** Sequences of ids that end an answer: one id each where the marks are tokens, several where they are spelt out. */
export const stopSequences = (
  tokenizer: Tokenizer | undefined,
  stopIds: ReadonlyArray<number> = [],
): ReadonlyArray<ReadonlyArray<number>> => {
  const eos = tokenizer?.eosTokenId;
  return [
    ...(eos === undefined ? [] : [[eos]]),
    ...(tokenizer === undefined ? [] : endsOfTurn(tokenizer).filter((ids) => ids.length > 0)),
    ...stopIds.map((id) => [id]),
  ];
};
