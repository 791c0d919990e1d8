import { left, right } from 'fp-ts/lib/Either.js';
import type { Either } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { dataError, warning } from '../errors.js';
import type { DataError, Warning } from '../errors.js';
import type { ChatTemplate } from '../formats/templates/chatTemplate.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type {
  ConversationExample,
  Example,
  Formatted,
  Message,
  PreTokenized,
  PromptCompletionExample,
  TextExample,
  Transform,
} from '../records.js';
import { mapping } from '../streams/operator.js';
import type { Rejecting } from '../streams/operator.js';
import { completionBorder } from './completionBorder.js';
import { promptAndCompletion, rolesOf } from './textRoles.js';
import { spread, weightsOf } from './textWeights.js';

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

/** The options, what is left open of them filled in from the tokenizer. */
interface Settled
  extends Pick<FormatOptions, 'tokenizer' | 'template' | 'bosToken' | 'eosToken' | 'addSpecialTokens' | 'warn'> {
  readonly appendEos: boolean;
  readonly addGenerationPrompt: boolean;
  readonly isParity: boolean;
  readonly tellRoles: boolean;
}

const settled = (options: FormatOptions): Settled => {
  const { tokenizer, addGenerationPrompt = false, parity, tellRoles = false } = options;
  const isParity = parity !== undefined;
  return {
    ...options,
    template: options.template ?? tokenizer?.chatTemplate,
    bosToken: options.bosToken ?? tokenizer?.bosToken,
    eosToken: options.eosToken ?? tokenizer?.eosToken,
    appendEos: options.appendEos ?? (!isParity && !addGenerationPrompt),
    addGenerationPrompt,
    isParity,
    tellRoles,
  };
};

/** Rows that no template renders. */
const plainRow = (options: Settled) => {
  const { bosToken, eosToken, appendEos, addSpecialTokens, isParity, tellRoles, warn } = options;
  let warnedOfEos = false;
  const closed = (text: string): string => {
    if (appendEos && eosToken === undefined && !warnedOfEos) {
      warnedOfEos = true;
      warn?.(warning('W_NO_EOS', 'No end-of-sequence token is known, so rows are not closed with one'));
    }
    return appendEos && eosToken !== undefined && !text.endsWith(eosToken) ? text + eosToken : text;
  };
  const wantsSpecialTokens = (text: string): boolean => {
    const hasBos = bosToken !== undefined && bosToken !== '' && text.startsWith(bosToken);
    if (hasBos && addSpecialTokens === undefined && !isParity) {
      warn?.(
        warning('W_TEXT_HAS_BOS', 'The text begins with the BOS token, so the tokenizer is not to add another', {
          actual: JSON.stringify(text.slice(0, 40)),
        }),
      );
    }
    return addSpecialTokens ?? (isParity || !hasBos);
  };
  return (
    written: string,
    { weight, textWeights }: Pick<TextExample, 'weight' | 'textWeights'>,
    completionStart?: number,
  ): Formatted => {
    const text = closed(written);
    return {
      text,
      addSpecialTokens: wantsSpecialTokens(text),
      ...(completionStart === undefined ? {} : { completionStart }),
      ...spread(text.length, weight, textWeights),
      ...(tellRoles && completionStart !== undefined ? promptAndCompletion(completionStart, text.length) : {}),
    };
  };
};

/** Conversations, rendered by the template. */
const conversationRow = (options: Settled) => {
  const { tokenizer, template, addSpecialTokens, addGenerationPrompt, isParity, tellRoles, warn } = options;
  return (row: ConversationExample): Either<DataError, Formatted> => {
    if (template === undefined) return left(noTemplate(tokenizer));
    const { messages, promptMessages = 0, tools, chatTemplateKwargs, weight } = row;
    const shared = {
      ...(tools === undefined ? {} : { tools }),
      ...(chatTemplateKwargs === undefined ? {} : { kwargs: chatTemplateKwargs }),
    };
    const whole = template.render({ ...shared, messages, addGenerationPrompt });
    if (whole._tag === 'Left') return whole;
    let border: Pick<Formatted, 'completionStart' | 'promptText'> = {};
    if (promptMessages > 0 && !isParity) {
      const asked = messages.slice(0, promptMessages);
      const prompt = template.render({ ...shared, messages: asked, addGenerationPrompt: true });
      if (prompt._tag === 'Left') return prompt;
      border = completionBorder(whole.right, prompt.right.text, promptMessages, warn);
    }
    return right({
      text: whole.right.text,
      addSpecialTokens: addSpecialTokens ?? isParity,
      assistantSpans: whole.right.assistantSpans,
      ...border,
      ...weightsOf(whole.right, messages, weight),
      ...(tellRoles ? rolesOf(whole.right, messages) : {}),
    });
  };
};

/**
 * Text of a record and what is known of its characters; a record that brings token ids passes. Refuses conversations without a
 * template (`E_NO_CHAT_TEMPLATE`; `E_NO_TOKENIZER` where there is no tokenizer either), and what the template refuses.
 */
export const formatRow = (options: FormatOptions = {}): Transform<Example, Formatted | PreTokenized> => {
  known('format', amongRun(formatOptionNames), options);
  const all = settled(options);
  const plain = plainRow(all);
  const conversation = conversationRow(all);
  return (example) => {
    switch (example.kind) {
      case 'tokenized':
        return right(example);
      case 'text':
        return right(plain(example.text, example));
      case 'promptCompletion': {
        const { prompt, completion, weight } = example;
        if (!all.isParity) return right(plain(prompt + completion, example, prompt.length));
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
