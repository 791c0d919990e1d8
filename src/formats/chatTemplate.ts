/** Chat templates: Jinja source → rendered text, and where each part of it came from. */
import { Template } from '@huggingface/jinja';
import { type Either, isLeft, left, right } from 'fp-ts/lib/Either.js';
import { type DataError, dataError } from '../errors.js';
import type { Message, Span } from '../records.js';

export interface Conversation {
  readonly messages: ReadonlyArray<Message>;
  readonly tools?: ReadonlyArray<unknown>;
  readonly addGenerationPrompt?: boolean;
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** Where a stretch of rendered text came from; nothing but a span is text of the template itself. */
export interface Provenance extends Span {
  readonly message?: number;
  readonly role?: string;
  readonly field?: string;
}

export interface Rendered {
  readonly text: string;
  /** What the assistant is to write, its end-of-turn mark included. */
  readonly assistantSpans: ReadonlyArray<Span>;
  readonly provenance: ReadonlyArray<Provenance>;
}

export interface ChatTemplate {
  readonly source: string;
  readonly render: (conversation: Conversation) => Either<DataError, Rendered>;
}

export interface ChatTemplateOptions {
  /** Special tokens by name (`bos_token`, `eos_token`, …) as the template sees them. */
  readonly specialTokens?: Readonly<Record<string, unknown>>;
  readonly clock?: () => Date;
}

/** A compiled template, or E_TEMPLATE_SYNTAX. */
export const makeChatTemplate = (
  source: string,
  options: ChatTemplateOptions = {},
): Either<DataError, ChatTemplate> => {
  let template: Template;
  try {
    template = new Template(source.replace(/\r\n?/g, '\n'));
  } catch (cause) {
    return left(dataError('E_TEMPLATE_SYNTAX', String(cause)));
  }
  const render: ChatTemplate['render'] = ({ messages, tools, addGenerationPrompt = false, kwargs = {} }) => {
    try {
      const text = template.render({
        ...options.specialTokens,
        ...kwargs,
        messages,
        tools,
        add_generation_prompt: addGenerationPrompt,
      });
      return right({ text, assistantSpans: [], provenance: [] });
    } catch (cause) {
      return left(dataError('E_TEMPLATE_RENDER', cause instanceof Error ? cause.message : String(cause)));
    }
  };
  return right({ source, render });
};

/**
 * One template of several by name, as transformers chooses: `tool_use` when there are tools, else `default`. A source that
 * does not compile, or a missing default, is an error of every rendering that needs it.
 */
export const namedTemplates = (
  sources: ReadonlyMap<string, string>,
  options: ChatTemplateOptions = {},
): ChatTemplate => {
  const compiled = new Map([...sources].map(([name, source]) => [name, makeChatTemplate(source, options)]));
  return {
    source: sources.get('default') ?? [...sources.values()][0] ?? '',
    render: (conversation) => {
      const chosen =
        (conversation.tools !== undefined ? compiled.get('tool_use') : undefined) ?? compiled.get('default');
      if (chosen === undefined) {
        return left(
          dataError('E_TEMPLATE_NONE', 'the tokenizer has several chat templates and none is the default', {
            actual: [...sources.keys()].join(', '),
          }),
        );
      }
      return isLeft(chosen) ? chosen : chosen.right.render(conversation);
    },
  };
};
