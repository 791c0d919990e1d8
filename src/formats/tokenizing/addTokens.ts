/** New tokens and a chat format for a tokenizer: its files rewritten, then read again. */
import { type Either, isLeft, left } from 'fp-ts/lib/Either.js';
import { checked } from '../../checked.js';
import { type FatalError, usage } from '../../errors.js';
import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { chatMl } from '../templates/chatMl.js';
import { parseJson, surroundedByNames } from './specOf.js';
import { tokenizerOfPair } from './tokenizerOfPair.js';
import { surroundOf } from './surround.js';
import { type Tokenizer, tokenizerOfFiles } from './tokenizer.js';

/** What `withAddedTokens` gives a tokenizer; what is left out stays as it is. */
export interface NewTokens {
  /** Tokens to add, in this order, unless the vocabulary has them. Special: never split, skipped by `skipSpecialTokens`. */
  readonly tokens?: ReadonlyArray<string> | undefined;
  /** The beginning-of-sequence token; added where the vocabulary lacks it, as the next two are. */
  readonly bosToken?: string | undefined;
  /** The end-of-sequence token. */
  readonly eosToken?: string | undefined;
  /** The padding token. */
  readonly padToken?: string | undefined;
  /** Jinja source of the chat template. */
  readonly chatTemplate?: string | undefined;
}

const parsed = (tokenizer: Tokenizer, name: string): Either<FatalError, unknown> =>
  parseJson(name, tokenizer.files[name] ?? '{}');

const shown = (value: unknown): string => `${JSON.stringify(value, null, 2)}\n`;

/**
 * A tokenizer with more tokens, or with other special tokens or another chat template. New tokens take the free ids from
 * `vocabSize` on. tokenizer.json (written anew for a vocab.json / merges.txt pair), tokenizer_config.json and
 * special_tokens_map.json are updated; other files stay as they are. `vocabSize` tells how many rows the embeddings need.
 */
export const withAddedTokens = checked(
  'withAddedTokens',
  left,
  {
    1: {
      tokens: 'optional',
      bosToken: 'optional',
      eosToken: 'optional',
      padToken: 'optional',
      chatTemplate: 'optional',
    },
  },
  (tokenizer: Tokenizer, additions: NewTokens): Either<FatalError, Tokenizer> => {
    const { bosToken, eosToken, padToken, chatTemplate } = additions;
    const config = parsed(tokenizer, 'tokenizer_config.json');
    if (isLeft(config)) return config;
    const map = parsed(tokenizer, 'special_tokens_map.json');
    if (isLeft(map)) return map;
    const hasJson = tokenizer.files['tokenizer.json'] !== undefined;
    const vocab = hasJson ? undefined : parsed(tokenizer, 'vocab.json');
    if (vocab !== undefined && isLeft(vocab)) return vocab;
    const json =
      vocab === undefined
        ? parsed(tokenizer, 'tokenizer.json')
        : tokenizerOfPair(vocab.right, tokenizer.files['merges.txt'] ?? '', config.right, map.right);
    if (isLeft(json)) return json;

    const wanted = new Set(
      [...(additions.tokens ?? []), bosToken, eosToken, padToken].filter((token) => token !== undefined),
    );
    if (wanted.has('')) return left(usage('E_TOKENIZER_INVALID', 'a new token is empty'));
    // Ids may have holes, in which a new token may lie as well as behind the last one.
    let next = tokenizer.vocabSize;
    const freeId = (): number => {
      while (tokenizer.idToToken(next) !== undefined) next++;
      return next++;
    };
    const flags = { single_word: false, lstrip: false, rstrip: false, normalized: false, special: true };
    const listed = fieldsOf(json.right)['added_tokens'];
    const added: unknown[] = Array.isArray(listed) ? [...(listed as ReadonlyArray<unknown>)] : [];
    const known = new Set(added.map((entry) => fieldsOf(entry)['content']));
    const decoderTable: Record<string, unknown> = { ...fieldsOf(fieldsOf(config.right)['added_tokens_decoder']) };
    const extra: string[] = [];
    for (const content of wanted) {
      if (known.has(content)) continue;
      const existing = tokenizer.tokenToId(content);
      const id = existing ?? freeId();
      if (existing === undefined) extra.push(content);
      added.push({ id, content, ...flags });
      decoderTable[id.toString()] = { content, ...flags };
    }
    const additional = (source: JsonRecord): ReadonlyArray<unknown> => {
      const before = source['additional_special_tokens'];
      const kept: ReadonlyArray<unknown> = Array.isArray(before) ? before : [];
      return [...kept, ...extra.filter((token) => !kept.includes(token))];
    };
    const names = {
      ...(bosToken === undefined ? {} : { bos_token: bosToken }),
      ...(eosToken === undefined ? {} : { eos_token: eosToken }),
      ...(padToken === undefined ? {} : { pad_token: padToken }),
    };
    const updated = (source: JsonRecord): JsonRecord => {
      const list = additional(source);
      return { ...source, ...names, ...(list.length === 0 ? {} : { additional_special_tokens: list }) };
    };
    const { 'chat_template.jinja': _jinja, 'chat_template.json': _json, ...others } = tokenizer.files;
    const kept = chatTemplate === undefined ? tokenizer.files : others;
    return tokenizerOfFiles({
      ...kept,
      'tokenizer.json': shown({ ...fieldsOf(json.right), added_tokens: added }),
      'tokenizer_config.json': shown({
        ...updated(fieldsOf(config.right)),
        ...(Object.keys(decoderTable).length === 0 || !('added_tokens_decoder' in fieldsOf(config.right))
          ? {}
          : { added_tokens_decoder: decoderTable }),
        ...(chatTemplate === undefined ? {} : { chat_template: chatTemplate }),
      }),
      'special_tokens_map.json': shown(updated(fieldsOf(map.right))),
    });
  },
);

/**
 * What stands around a text written down as it is, where tokenizer_config.json says it by names: tokens of other names do not change
 * it then, as they do not in a tokenizer of transformers 4.36 until it is loaded again.
 */
const withFixedSurround = (tokenizer: Tokenizer): Tokenizer => {
  const { 'tokenizer.json': json, 'tokenizer_config.json': config, ...others } = tokenizer.files;
  if (json === undefined || config === undefined) return tokenizer;
  const parts = fieldsOf(JSON.parse(json));
  const said = fieldsOf(JSON.parse(config));
  const { add_bos_token: _bos, add_eos_token: _eos, ...settings } = said;
  if (!surroundedByNames(said, parts['post_processor'] ?? null)) return tokenizer;
  const { prefix, suffix } = surroundOf(tokenizer);
  const special = (id: number) => ({ SpecialToken: { id: tokenizer.idToToken(id) ?? '', type_id: 0 } });
  const listed = [...prefix, ...suffix].map((id) => {
    const token = tokenizer.idToToken(id) ?? '';
    return [token, { id: token, ids: [id], tokens: [token] }] as const;
  });
  const single = [...[...prefix].map(special), { Sequence: { id: 'A', type_id: 0 } }, ...[...suffix].map(special)];
  const processor = {
    type: 'TemplateProcessing',
    single,
    pair: [...single, { Sequence: { id: 'B', type_id: 1 } }],
    special_tokens: Object.fromEntries(listed),
  };
  const files = {
    ...others,
    'tokenizer.json': shown({ ...parts, post_processor: processor }),
    'tokenizer_config.json': shown(settings),
  };
  return { ...tokenizer, files };
};

/** How `withChatFormat` sets a tokenizer up for conversations. */
export interface ChatFormat {
  /** Only `chatml`. */
  readonly format?: string | undefined;
  /**
   * `true`: padding token = end-of-turn token, as TRL 0.7.10 has it, so that its default collator trains no end of turn.
   * Default: a padding token of its own, the one before or else the old end-of-sequence token.
   */
  readonly parity?: boolean | undefined;
}

/**
 * The tokenizer half of `setup_chat_format`: ChatML's tokens and template. Error E_UNKNOWN_CHAT_FORMAT. The embeddings must
 * be resized to `vocabSize` rows.
 */
export const withChatFormat = checked(
  'withChatFormat',
  left,
  { 1: { format: 'optional', parity: 'optional' } },
  (tokenizer: Tokenizer, options: ChatFormat = {}): Either<FatalError, Tokenizer> => {
    const { format = 'chatml', parity = false } = options;
    if (format !== 'chatml') {
      return left(
        usage('E_UNKNOWN_CHAT_FORMAT', `unknown chat format "${format}"`, {
          expected: 'chatml',
          actual: format,
        }),
      );
    }
    const { bosToken, eosToken, template } = chatMl;
    const distinct = [tokenizer.padToken, tokenizer.eosToken].find(
      (token) => token !== undefined && token !== eosToken,
    );
    const padToken = parity ? eosToken : distinct;
    return withAddedTokens(parity ? withFixedSurround(tokenizer) : tokenizer, {
      bosToken,
      eosToken,
      ...(padToken === undefined ? {} : { padToken }),
      chatTemplate: template,
    });
  },
);
