/**
 * What the assistant is to write, worked out from provenance for templates without generation blocks.
 *
 * A turn of the assistant is a stretch of text of one assistant message: its data, and what the template wrote in its turn.
 *
 * - The span begins behind the generation prompt, so that prompt + span is the training row. A turn that begins otherwise
 *   has as its header as much of the generation prompt as it shares up to a line end or the end of a mark.
 * - It ends behind the last data and what the template writes after it in the turn, end-of-turn mark included, white space
 *   behind that excluded: `<|im_end|>`, not the newline that separates messages. An end-of-sequence token that the template
 *   writes behind the last turn belongs to it.
 */
import type { Span } from '../../records.js';
import type { Provenance } from './provenance.js';

interface Clues {
  /** What the template appends for the assistant to go on from; undefined when it could not be found out. */
  readonly generationPrompt: string | undefined;
  /** Empty when there is none. */
  readonly eosToken: string;
}

/** Data that stands in the header of a turn, not in what the assistant writes. */
const headerFields: ReadonlySet<string> = new Set(['role', 'name']);

/** Consecutive stretches of one message. */
interface Turn {
  readonly message: number;
  readonly role: string | undefined;
  readonly start: number;
  end: number;
  /** First and last data that is not in the header; -1 when there is none. */
  dataStart: number;
  dataEnd: number;
  /** Template text that belongs to no message may follow; it reaches to here. */
  tailEnd: number;
}

/** Data of one message in the midst of what the template wrote for another: the name of a tool that was called, say. */
const echoed = (before: Provenance | undefined, stretch: Provenance, after: Provenance | undefined): boolean =>
  stretch.field !== undefined &&
  before?.message !== undefined &&
  before.message !== stretch.message &&
  before.message === after?.message;

const turnsOf = (provenance: ReadonlyArray<Provenance>): ReadonlyArray<Turn> => {
  const turns: Turn[] = [];
  provenance.forEach((stretch, i) => {
    const { start, end, role, field } = stretch;
    const message = echoed(provenance[i - 1], stretch, provenance[i + 1])
      ? provenance[i - 1]?.message
      : stretch.message;
    let turn = turns.at(-1);
    if (message === undefined) {
      if (field === undefined && turn?.tailEnd === start) turn.tailEnd = end;
      return;
    }
    if (turn?.message !== message) {
      turn = { message, role, start, end, dataStart: -1, dataEnd: -1, tailEnd: end };
      turns.push(turn);
    }
    turn.end = end;
    turn.tailEnd = end;
    if (field !== undefined && !headerFields.has(field)) {
      if (turn.dataStart < 0) turn.dataStart = start;
      turn.dataEnd = end;
    }
  });
  return turns;
};

/** Length of the header that the lead of a turn (its text before any data) begins with. */
const headerLength = (lead: string, prompt: string | undefined): number => {
  if (prompt === undefined) return lead.length;
  const at = lead.indexOf(prompt);
  if (at >= 0) return at + prompt.length;
  if (prompt.startsWith(lead)) return lead.length;
  for (const border of ['\n', '>', ']']) {
    for (let end = prompt.lastIndexOf(border); end >= 0; end = end === 0 ? -1 : prompt.lastIndexOf(border, end - 1)) {
      if (lead.startsWith(prompt.slice(0, end + 1))) return end + 1;
    }
  }
  return 0;
};

/** A mark in angle or square brackets behind white space at most. */
const leadingMark = /^\s*(?:<[^<>\s]+>|\[[^[\]\s]+\])/;

const endOfTurn = (text: string, turn: Turn, start: number, eosToken: string): number => {
  const dataEnd = Math.max(start, turn.dataEnd);
  let end = dataEnd + text.slice(dataEnd, Math.max(dataEnd, turn.end)).trimEnd().length;
  const tail = text.slice(end, turn.tailEnd);
  const blanks = tail.length - tail.trimStart().length;
  if (eosToken !== '' && tail.startsWith(eosToken, blanks)) end += blanks + eosToken.length;
  // Nothing was written behind the data in this turn: a mark may follow it all the same.
  else if (end === turn.dataEnd) end += leadingMark.exec(tail)?.[0].length ?? 0;
  return end;
};

/** Spans of what assistants write, in order. `provenance` lies end to end over `text`. */
export const assistantSpans = (
  text: string,
  provenance: ReadonlyArray<Provenance>,
  { generationPrompt, eosToken }: Clues,
): ReadonlyArray<Span> =>
  turnsOf(provenance).flatMap((turn) => {
    if (turn.role !== 'assistant') return [];
    const lead = text.slice(turn.start, turn.dataStart < 0 ? turn.end : turn.dataStart);
    const start = turn.start + headerLength(lead, generationPrompt);
    const end = endOfTurn(text, turn, start, eosToken);
    return end > start ? [{ start, end }] : [];
  });
