/**
 * Chat templates: Jinja source → rendered text, and for each of its characters the message, role and field it came from.
 *
 * The interpreter is our own (`jinja/`), set up as transformers sets up Jinja2: `trim_blocks`, `lstrip_blocks`, loop controls,
 * generation blocks, `tojson` as `json.dumps`, `raise_exception`, `strftime_now`, special tokens by name.
 */
import { type Either, isLeft, left, right } from 'fp-ts/lib/Either.js';
import { checked } from '../../checked.js';
import { type DataError, dataError } from '../../errors.js';
import type { Message, Span } from '../../records.js';
import { identified, lasting } from '../identity.js';
import type { Tell } from '../identity.js';
import { compile, type Program } from '../jinja/program.js';
import { TemplateError } from '../jinja/templateError.js';
import { memberValue, messageValue, toValue } from '../jinja/toValue.js';
import type { ContentForm } from '../jinja/toValue.js';
import type { Text } from '../jinja/traced.js';
import { list, type Value } from '../jinja/values.js';
import { writtenNumbersOf } from '../json/writtenNumbers.js';
import { assistantSpans } from './assistantSpans.js';
import type { Provenance } from './provenance.js';

export type { Provenance } from './provenance.js';

/** What a template renders. */
export interface Conversation {
  readonly messages: ReadonlyArray<Message>;
  /** For templates that show them. */
  readonly tools?: ReadonlyArray<unknown>;
  /** End with the opening of the assistant's turn. Default false. */
  readonly addGenerationPrompt?: boolean;
  /** Further variables of the template (`enable_thinking`, `documents`, …). */
  readonly kwargs?: Readonly<Record<string, unknown>>;
}

/** The text of a conversation, and whose words are where in it. */
export interface Rendered {
  readonly text: string;
  /**
   * What the assistant is to write, its end-of-turn mark included. With generation blocks in the template, what they hold.
   * Without, the content of its messages and what the template writes behind it in that turn, white space at
   * the end left out.
   */
  readonly assistantSpans: ReadonlyArray<Span>;
  /** Stretches end to end over the whole text. */
  readonly provenance: ReadonlyArray<Provenance>;
}

/** A compiled Jinja chat template. */
export interface ChatTemplate {
  /** The Jinja source. */
  readonly source: string;
  /**
   * Errors: E_TEMPLATE_RAISED when the template itself refuses (`raise_exception`), E_TEMPLATE_RENDER when it uses a value as
   * that cannot be used, E_TEMPLATE_LIMIT when it takes too many steps or writes too much, E_TEMPLATE_SYNTAX.
   */
  readonly render: (conversation: Conversation) => Either<DataError, Rendered>;
}

/** What a template sees beside the conversation. */
export interface ChatTemplateOptions {
  /** Special tokens by name (`bos_token`, `eos_token`, …) as the template sees them. */
  readonly specialTokens?: Readonly<Record<string, unknown>> | undefined;
  /** What `strftime_now` reads. Default: the machine's clock. */
  readonly clock?: (() => Date) | undefined;
  /** Statements, loop turns, calls and operations (long texts cost more) before a rendering is given up. Default 4 million, seconds. */
  readonly maxSteps?: number | undefined;
  /** A template that goes through parts of a content, and would leave out a string, is given one part. Default: contents as they are. */
  readonly readsParts?: boolean | undefined;
}

const defaultSteps = 4_000_000;

const asDataError = (error: unknown, source: string): DataError => {
  if (error instanceof TemplateError) {
    // A row is refused with this: its reader is to look for the fault in the template.
    const told = error.code === 'E_TEMPLATE_RENDER' ? `the chat template fails: ${error.message}` : error.message;
    return dataError(error.code, told, error.line === undefined ? {} : { line: error.line });
  }
  if (error instanceof RangeError) {
    return dataError('E_TEMPLATE_LIMIT', 'the template is nested too deeply', {
      actual: `${source.length} characters`,
    });
  }
  throw error;
};

const variablesOf = (
  { messages, tools, addGenerationPrompt = false, kwargs = {} }: Conversation,
  specialTokens: Readonly<Record<string, unknown>>,
  form: ContentForm,
): ReadonlyMap<string, Value> => {
  const variables = new Map<string, Value>();
  variables.set('documents', null);
  for (const [name, value] of Object.entries(specialTokens)) {
    if (value !== undefined) variables.set(name, toValue(value));
  }
  const written = writtenNumbersOf(kwargs);
  for (const [name, value] of Object.entries(kwargs))
    if (value !== undefined) variables.set(name, memberValue([name, value], written));
  variables.set('messages', list(messages.map((message, i) => messageValue(message, i, form))));
  variables.set('tools', tools === undefined ? null : toValue(tools, { field: 'tools' }));
  variables.set('add_generation_prompt', addGenerationPrompt);
  return variables;
};

const provenanceOf = (text: Text): ReadonlyArray<Provenance> => {
  if (typeof text === 'string') return text === '' ? [] : [{ start: 0, end: text.length }];
  const stretches: Provenance[] = [];
  let start = 0;
  for (const { end, origin } of text.runs) {
    const { message, role, field, part } = origin ?? {};
    const last = stretches.at(-1);
    if (last !== undefined && last.message === message && last.field === field && last.part === part) {
      stretches[stretches.length - 1] = { ...last, end };
    } else {
      stretches.push({
        start,
        end,
        ...(message === undefined ? {} : { message }),
        ...(role === undefined ? {} : { role }),
        ...(field === undefined ? {} : { field }),
        ...(part === undefined ? {} : { part }),
      });
    }
    start = end;
  }
  return stretches;
};

const generatedSpans = (text: Text): ReadonlyArray<Span> => {
  if (typeof text === 'string') return [];
  const spans: Span[] = [];
  let start = 0;
  for (const { end, origin } of text.runs) {
    const last = spans.at(-1);
    if (origin?.generated === true) {
      if (last?.end === start) spans[spans.length - 1] = { start: last.start, end };
      else spans.push({ start, end });
    }
    start = end;
  }
  return spans;
};

/**
 * What the template writes to have the assistant speak next, as it follows a plain user message. An end-of-sequence token
 * that stands there otherwise does not count.
 */
const generationPrompt = (
  run: (conversation: Conversation) => string,
  conversation: Conversation,
  eosToken: string,
): string | undefined => {
  const { kwargs } = conversation;
  const probe = (addGenerationPrompt: boolean): string =>
    run({
      messages: [{ role: 'user', content: 'x' }],
      addGenerationPrompt,
      ...(kwargs === undefined ? {} : { kwargs }),
    });
  try {
    const without = probe(false);
    const along = probe(true);
    if (along.startsWith(without)) return along.slice(without.length);
    const start = without.endsWith(eosToken) ? without.slice(0, without.length - eosToken.length) : without;
    return along.startsWith(start) ? along.slice(start.length) : undefined;
  } catch {
    return undefined;
  }
};

/** Arguments for which a template may write another prompt have another key: 1.0 prints otherwise than 1. */
const promptKey = (kwargs: Conversation['kwargs']): string =>
  kwargs === undefined
    ? ''
    : JSON.stringify(kwargs, function told(this: object, key, own: unknown) {
        if (typeof own === 'bigint') return `\u0000${own}`;
        const written = typeof own === 'number' ? writtenNumbersOf(this)?.get(key) : undefined;
        return written === undefined ? own : `\u0000${written} ${String(own)}`;
      });

const probeText = 'contents';

/**
 * How the template reads contents. Those of models that see images may go through lists of parts alone: a string is nothing to them,
 * and is left out silently.
 */
const contentForm = (run: (conversation: Conversation, form: ContentForm) => string): ContentForm => {
  const shows = (form: ContentForm): boolean => {
    try {
      return run({ messages: [{ role: 'user', content: probeText }] }, form).includes(probeText);
    } catch {
      return false;
    }
  };
  return !shows('string') && shows('parts') ? 'parts' : 'string';
};

/** Sources and what they see. A template that reads the clock gives something else tomorrow: it is not known. */
const templateIdentity = (
  sources: ReadonlyArray<string>,
  { specialTokens = {}, maxSteps = defaultSteps, readsParts = false }: ChatTemplateOptions,
): Tell =>
  sources.some((source) => source.includes('strftime_now'))
    ? () => Promise.resolve(undefined)
    : lasting(() => ({ sources, specialTokens, maxSteps, readsParts }));

/** A Jinja source as a chat template; `E_TEMPLATE_SYNTAX` with the line where it cannot be read. */
export const makeChatTemplate = checked(
  'makeChatTemplate',
  ({ code, message, details }) => left(dataError(code, message, details)),
  { 1: { specialTokens: 'optional', clock: 'optional', maxSteps: 'optional', readsParts: 'optional' } },
  (source: string, options: ChatTemplateOptions = {}): Either<DataError, ChatTemplate> => {
    const { specialTokens = {}, clock = () => new Date(), maxSteps = defaultSteps, readsParts = false } = options;
    let program: Program;
    try {
      program = compile(source);
    } catch (error) {
      return left(asDataError(error, source));
    }
    const runAs = (conversation: Conversation, form: ContentForm): Text =>
      program.run(variablesOf(conversation, specialTokens, form), { clock, steps: maxSteps });
    const asText = (text: Text): string => (typeof text === 'string' ? text : text.text);
    let form: ContentForm | undefined;
    const run = (conversation: Conversation): Text => {
      form ??= readsParts ? contentForm((asked, as) => asText(runAs(asked, as))) : 'string';
      return runAs(conversation, form);
    };
    const eosToken = typeof specialTokens['eos_token'] === 'string' ? specialTokens['eos_token'] : '';
    const prompts = new Map<string, string | undefined>();
    const promptFor = (conversation: Conversation): string | undefined => {
      const key = promptKey(conversation.kwargs);
      if (!prompts.has(key)) {
        if (prompts.size >= 64) prompts.clear();
        prompts.set(
          key,
          generationPrompt((one) => asText(run(one)), conversation, eosToken),
        );
      }
      return prompts.get(key);
    };
    const render: ChatTemplate['render'] = (conversation) => {
      try {
        const text = run(conversation);
        const provenance = provenanceOf(text);
        return right({
          text: asText(text),
          provenance,
          assistantSpans: program.marksGeneration
            ? generatedSpans(text)
            : assistantSpans(asText(text), provenance, {
                generationPrompt: promptFor(conversation),
                eosToken,
              }),
        });
      } catch (error) {
        return left(asDataError(error, source));
      }
    };
    return right(identified({ source, render }, templateIdentity([source], { specialTokens, maxSteps, readsParts })));
  },
);

/**
 * One template of several by name, as transformers chooses: `tool_use` when there are tools, else `default`. A source that
 * does not compile, or a missing default, is an error of every rendering that needs it.
 */
export const namedTemplates = (
  sources: ReadonlyMap<string, string>,
  options: ChatTemplateOptions = {},
): ChatTemplate => {
  const compiled = new Map([...sources].map(([name, source]) => [name, makeChatTemplate(source, options)]));
  const template: ChatTemplate = {
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
  return identified(template, templateIdentity([...sources].flat(), options));
};
