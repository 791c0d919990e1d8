/** What a model is to write when it has said all: EOS, and the end of turn of the chat template. */
import type { Tokenizer } from '../../formats/tokenizer.js';

/** Whether the ids up to and with position `t` end with the sequence. */
export const endsWithStop = (ids: ArrayLike<number>, t: number, stop: ReadonlyArray<number>): boolean =>
  stop.length > 0 && stop.length <= t + 1 && stop.every((id, i) => ids[t + 1 - stop.length + i] === id);

/** What the template writes behind an answer, as ids; undefined where it writes nothing or cannot be asked. */
const endOfTurn = ({ chatTemplate, encode }: Tokenizer): ReadonlyArray<number> | undefined => {
  const content = 'answer';
  const rendered = chatTemplate?.render({
    messages: [
      { role: 'user', content: 'question' },
      { role: 'assistant', content },
    ],
  });
  if (rendered?._tag !== 'Right') return undefined;
  const { text, assistantSpans } = rendered.right;
  const span = assistantSpans.at(-1);
  if (span === undefined) return undefined;
  const said = text.slice(span.start, span.end);
  const mark = said.slice(said.lastIndexOf(content) + content.length).trim();
  return mark === '' ? undefined : [...encode(mark, { addSpecialTokens: false })];
};

/** Sequences of ids that end an answer: one id each where the marks are tokens, several where they are spelt out. */
export const stopSequences = (
  tokenizer: Tokenizer | undefined,
  stopIds: ReadonlyArray<number> = [],
): ReadonlyArray<ReadonlyArray<number>> => {
  const turn = tokenizer === undefined ? undefined : endOfTurn(tokenizer);
  const eos = tokenizer?.eosTokenId;
  return [
    ...(eos === undefined ? [] : [[eos]]),
    ...(turn === undefined || turn.length === 0 ? [] : [turn]),
    ...stopIds.map((id) => [id]),
  ];
};
