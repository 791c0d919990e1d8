import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError, warning } from '../errors.js';
import type { DataError, Warning } from '../errors.js';
import type { ChatTemplate, Rendered } from '../formats/templates/chatTemplate.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type {
  ConversationExample,
  Example,
  Formatted,
  Message,
  PreTokenized,
  PromptCompletionExample,
  Span,
  Transform,
  WeightedSpan,
} from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';

/** How a record becomes text. */
export interface FormatOptions {
  /** Where template, BOS and EOS come from unless given below. */
  readonly tokenizer?: Pick<Tokenizer, 'chatTemplate' | 'bosToken' | 'eosToken'> | undefined;
  /** Renders conversations. Default: the tokenizer's. */
  readonly template?: ChatTemplate | undefined;
  /** Default: the tokenizer's. */
  readonly bosToken?: string | undefined;
  /** Default: the tokenizer's. */
  readonly eosToken?: string | undefined;
  /**
   * Append the EOS string to rows that no template renders, unless it is there. Default true; false under parity, and with
   * `addGenerationPrompt`, because a prompt is not at its end.
   */
  readonly appendEos?: boolean | undefined;
  /**
   * Whether the tokenizer adds its special tokens. Default: yes for plain rows, unless the text begins with BOS already; no for
   * rendered conversations, whose template prints all it wants (as `apply_chat_template` has it), so no BOS is ever doubled.
   */
  readonly addSpecialTokens?: boolean | undefined;
  /** End a conversation with the opening of the assistant's turn: for prompts before inference. */
  readonly addGenerationPrompt?: boolean | undefined;
  /**
   * As TRL 0.7.10: nothing appended, special tokens always added, prompt/completion rows rendered as a user and an assistant turn
   * with no border between them.
   */
  readonly parity?: 'trl-0.7.10' | undefined;
  /** Tell whose words are where. Default false: training has no use for it. */
  readonly tellRoles?: boolean | undefined;
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const formatOptionNames: OptionNames<FormatOptions & Rejecting> = {
  tokenizer: 'optional',
  template: 'optional',
  bosToken: 'optional',
  eosToken: 'optional',
  appendEos: 'optional',
  addSpecialTokens: 'optional',
  addGenerationPrompt: 'optional',
  parity: 'optional',
  tellRoles: 'optional',
  warn: 'optional',
  rejects: 'optional',
};

const noTemplate = (tokenizer: FormatOptions['tokenizer']): DataError =>
  tokenizer === undefined
    ? dataError('E_NO_TOKENIZER', 'The row is a conversation, and there is no tokenizer to make tokens of it', {
        expected: 'a tokenizer (tokenizer.json beside the model) or a template, or rows with input_ids',
      })
    : dataError('E_NO_CHAT_TEMPLATE', 'The row is a conversation, but the tokenizer has no chat template', {
        hint: 'give chatTemplate, or chatFormat: chatml for a base model; or make a text of each row (formattingFunc)',
      });

/** Spans end to end over the whole text: those given, times the row's weight, and the row's weight in between. */
const spread = (
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
const weightsOf = (
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

/** Fields of a message that stand in its header, not among its words. */
const headerFields: ReadonlySet<string> = new Set(['role', 'name']);

/**
 * Whose words are where in a conversation: of the assistant, all that it is to write, its end-of-turn mark included; of others, what
 * the data set holds. The rest is the template's.
 */
const rolesOf = (
  { provenance, assistantSpans }: Rendered,
  messages: ReadonlyArray<Message>,
): Required<Pick<Formatted, 'roles'>> => {
  const roles: Array<Span & { role: string }> = assistantSpans.map((span) => ({ ...span, role: 'assistant' }));
  for (const { message, field, start, end } of provenance) {
    const role = message === undefined ? undefined : messages[message]?.role;
    if (role === undefined || role === 'assistant' || field === undefined || headerFields.has(field)) continue;
    roles.push({ start, end, role });
  }
  roles.sort((a, b) => a.start - b.start);
  return { roles: roles.filter(({ start }, i) => start >= (roles[i - 1]?.end ?? 0)) };
};

const commonPrefix = (a: string, b: string): number => {
  let i = 0;
  while (i < a.length && i < b.length && a.charCodeAt(i) === b.charCodeAt(i)) i++;
  return i;
};

/**
 * Where the completion of a conversational prompt/completion row begins: behind the prompt as it is rendered alone, with the
 * opening of the assistant's turn. When that is not how the whole begins, at the first text that is known to be the completion's.
 */
const borderOf = (
  whole: Rendered,
  prompt: string,
  promptMessages: number,
  warn: FormatOptions['warn'],
): Pick<Formatted, 'completionStart' | 'promptText'> => {
  if (whole.text.startsWith(prompt)) return { completionStart: prompt.length };
  warn?.(
    warning('W_PROMPT_NOT_PREFIX', 'The prompt rendered alone is not how the whole conversation begins', {
      expected: JSON.stringify(prompt.slice(-80)),
      actual: JSON.stringify(whole.text.slice(0, prompt.length).slice(-80)),
      hint: 'the template writes past turns otherwise than the last one; what the model is asked at inference differs from training',
    }),
  );
  const starts = whole.provenance
    .filter(({ message, field }) => message !== undefined && message >= promptMessages && field !== 'role')
    .map(({ start }) => start);
  return {
    completionStart: starts.length > 0 ? Math.min(...starts) : commonPrefix(whole.text, prompt),
    promptText: prompt,
  };
};

/** A prompt and its completion as a turn of the user and one of the assistant. */
const asTurns = ({ prompt, completion, textWeights = [] }: PromptCompletionExample): ReadonlyArray<Message> => {
  const turn = (role: string, content: string, from: number): Message => {
    const to = from + content.length;
    const own = textWeights.filter(({ start, end }) => start < to && end > from);
    const contentWeights = own.map(({ start, end, weight }) => ({
      start: Math.max(start, from) - from,
      end: Math.min(end, to) - from,
      weight,
    }));
    return { role, content, ...(own.length === 0 ? {} : { contentWeights }) };
  };
  return [turn('user', prompt, 0), turn('assistant', completion, prompt.length)];
};

/**
 * Text of a record and what is known of its characters; a record that brings token ids passes. Refuses conversations without a
 * template (`E_NO_CHAT_TEMPLATE`; `E_NO_TOKENIZER` where there is no tokenizer either), and what the template refuses.
 */
export const formatRow = (options: FormatOptions = {}): Transform<Example, Formatted | PreTokenized> => {
  known('format', amongRun(formatOptionNames), options);
  const { tokenizer, addGenerationPrompt = false, parity, tellRoles = false, warn } = options;
  const template = options.template ?? tokenizer?.chatTemplate;
  const bosToken = options.bosToken ?? tokenizer?.bosToken;
  const eosToken = options.eosToken ?? tokenizer?.eosToken;
  const appendEos = options.appendEos ?? (parity === undefined && !addGenerationPrompt);
  let warnedOfEos = false;

  const plain = (
    text: string,
    { weight, textWeights }: { readonly weight?: number; readonly textWeights?: ReadonlyArray<WeightedSpan> },
    completionStart?: number,
  ): Formatted => {
    if (appendEos && eosToken === undefined && !warnedOfEos) {
      warnedOfEos = true;
      warn?.(warning('W_NO_EOS', 'No end-of-sequence token is known, so rows are not closed with one'));
    }
    const closed = appendEos && eosToken !== undefined && !text.endsWith(eosToken) ? text + eosToken : text;
    const hasBos = bosToken !== undefined && bosToken !== '' && closed.startsWith(bosToken);
    if (hasBos && options.addSpecialTokens === undefined && parity === undefined) {
      warn?.(
        warning('W_TEXT_HAS_BOS', 'The text begins with the BOS token, so the tokenizer is not to add another', {
          actual: JSON.stringify(closed.slice(0, 40)),
        }),
      );
    }
    return {
      text: closed,
      addSpecialTokens: options.addSpecialTokens ?? (parity !== undefined || !hasBos),
      ...(completionStart === undefined ? {} : { completionStart }),
      ...spread(closed.length, weight, textWeights),
      ...(tellRoles && completionStart !== undefined
        ? {
            roles: [
              { start: 0, end: completionStart, role: 'prompt' },
              { start: completionStart, end: closed.length, role: 'completion' },
            ],
          }
        : {}),
    };
  };

  const conversation = (row: ConversationExample): Either<DataError, Formatted> => {
    if (template === undefined) return left(noTemplate(tokenizer));
    const { messages, promptMessages = 0, tools, chatTemplateKwargs, weight } = row;
    const shared = {
      ...(tools === undefined ? {} : { tools }),
      ...(chatTemplateKwargs === undefined ? {} : { kwargs: chatTemplateKwargs }),
    };
    const whole = template.render({ ...shared, messages, addGenerationPrompt });
    if (whole._tag === 'Left') return whole;
    let border: Pick<Formatted, 'completionStart' | 'promptText'> = {};
    if (promptMessages > 0 && parity === undefined) {
      const prompt = template.render({
        ...shared,
        messages: messages.slice(0, promptMessages),
        addGenerationPrompt: true,
      });
      if (prompt._tag === 'Left') return prompt;
      border = borderOf(whole.right, prompt.right.text, promptMessages, warn);
    }
    return right({
      text: whole.right.text,
      addSpecialTokens: options.addSpecialTokens ?? parity !== undefined,
      assistantSpans: whole.right.assistantSpans,
      ...border,
      ...weightsOf(whole.right, messages, weight),
      ...(tellRoles ? rolesOf(whole.right, messages) : {}),
    });
  };

  return (example) => {
    switch (example.kind) {
      case 'tokenized':
        return right(example);
      case 'text':
        return right(plain(example.text, example));
      case 'promptCompletion': {
        const { prompt, completion, weight } = example;
        if (parity === undefined) return right(plain(prompt + completion, example, prompt.length));
        const messages = asTurns(example);
        return conversation({ kind: 'messages', messages, ...(weight === undefined ? {} : { weight }) });
      }
      case 'messages':
        return conversation(example);
    }
  };
};

/** `formatRow` as a stage: decoded rows → text and what is known of its characters. */
export const format = (options: FormatOptions & Rejecting = {}): OperatorFunction<Example, Formatted | PreTokenized> =>
  mapping('format', formatRow(options), options);
