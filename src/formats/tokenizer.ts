/** tokenizer.json + tokenizer_config.json → Tokenizer, a small interface. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Tokenizer as Reference } from '@huggingface/tokenizers';
import { type Either, isRight, left, right } from 'fp-ts/lib/Either.js';
import type { TaskEither } from 'fp-ts/lib/TaskEither.js';
import { type FatalError, fatal, isFatal } from '../errors.js';
import { type ChatTemplate, makeChatTemplate } from './chatTemplate.js';

export interface Tokenizer {
  /** Ids of a text, with what the post-processor adds when `addSpecialTokens`. Pure. */
  readonly encode: (text: string, options: { addSpecialTokens: boolean }) => Int32Array;
  /** Ids plus the UTF-16 [start, end) of each in `text` (length 2n); tokens the post-processor added have start = end. */
  readonly encodeWithOffsets: (
    text: string,
    options: { addSpecialTokens: boolean },
  ) => { readonly ids: Int32Array; readonly offsets: Int32Array };
  readonly decode: (ids: ArrayLike<number>, options?: { skipSpecialTokens?: boolean }) => string;
  readonly tokenToId: (token: string) => number | undefined;
  readonly idToToken: (id: number) => string | undefined;
  /** Base vocabulary and added tokens together. */
  readonly vocabSize: number;
  readonly bosTokenId?: number;
  readonly eosTokenId?: number;
  readonly padTokenId?: number;
  readonly unkTokenId?: number;
  readonly bosToken?: string;
  readonly eosToken?: string;
  readonly padToken?: string;
  readonly unkToken?: string;
  /** Absent when the files give none, or an absurdly large one (1e30). */
  readonly modelMaxLength?: number;
  readonly paddingSide?: 'left' | 'right';
  readonly chatTemplate?: ChatTemplate;
  /** File name → text, as they were read, to be saved beside the model. */
  readonly files: Readonly<Record<string, string>>;
}

const record = (value: unknown): Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) ? (value as Record<string, unknown>) : {};

const tokenText = (value: unknown): string | undefined => {
  if (typeof value === 'string') return value;
  const content = record(value)['content'];
  return typeof content === 'string' ? content : undefined;
};

export const makeTokenizer = (
  tokenizerJson: unknown,
  tokenizerConfig: unknown = {},
  files: Readonly<Record<string, string>> = {},
): Either<FatalError, Tokenizer> => {
  try {
    const config = record(tokenizerConfig);
    const json = {
      normalizer: null,
      pre_tokenizer: null,
      post_processor: null,
      decoder: null,
      added_tokens: [],
      ...record(tokenizerJson),
    };
    const reference = new Reference(json, {});
    const encode: Tokenizer['encode'] = (text, { addSpecialTokens }) =>
      Int32Array.from(reference.encode(text, { add_special_tokens: addSpecialTokens }).ids);
    const idOf = (name: string): number | undefined => {
      const token = tokenText(config[name]);
      return token === undefined ? undefined : reference.token_to_id(token);
    };
    const named = Object.fromEntries(
      Object.entries(config).flatMap(([key, value]) => {
        const token = key.endsWith('_token') ? tokenText(value) : undefined;
        return token === undefined ? [] : [[key, token]];
      }),
    );
    const template =
      typeof config['chat_template'] === 'string'
        ? makeChatTemplate(config['chat_template'], { specialTokens: named })
        : undefined;
    const limit = config['model_max_length'];
    const optional = {
      bosTokenId: idOf('bos_token'),
      eosTokenId: idOf('eos_token'),
      padTokenId: idOf('pad_token'),
      unkTokenId: idOf('unk_token'),
      bosToken: named['bos_token'],
      eosToken: named['eos_token'],
      padToken: named['pad_token'],
      unkToken: named['unk_token'],
      modelMaxLength: typeof limit === 'number' && limit < 1e29 ? limit : undefined,
      paddingSide: config['padding_side'],
      chatTemplate: template !== undefined && isRight(template) ? template.right : undefined,
    };
    return right({
      encode,
      encodeWithOffsets: (text, options) => {
        const ids = encode(text, options);
        const offsets = new Int32Array(ids.length * 2);
        let at = 0;
        ids.forEach((id, i) => {
          const piece = reference.decode([id], { clean_up_tokenization_spaces: false });
          const found = piece === '' ? -1 : text.indexOf(piece, at);
          offsets[2 * i] = found < 0 ? at : found;
          if (found >= 0) at = found + piece.length;
          offsets[2 * i + 1] = at;
        });
        return { ids, offsets };
      },
      decode: (ids, { skipSpecialTokens = false } = {}) =>
        ids.length === 0
          ? ''
          : reference.decode(Array.from(ids), {
              skip_special_tokens: skipSpecialTokens,
              clean_up_tokenization_spaces: false,
            }),
      tokenToId: (token) => reference.token_to_id(token),
      idToToken: (id) => reference.id_to_token(id),
      vocabSize: reference.get_vocab().size,
      ...(Object.fromEntries(
        Object.entries(optional).filter(([, value]) => value !== undefined),
      ) as Partial<Tokenizer>),
      files,
    });
  } catch (cause) {
    return left(isFatal(cause) ? cause : fatal('E_TOKENIZER_INVALID', String(cause), { cause }));
  }
};

const fileNames = [
  'tokenizer.json',
  'tokenizer_config.json',
  'special_tokens_map.json',
  'added_tokens.json',
  'vocab.json',
  'merges.txt',
  'chat_template.jinja',
  'chat_template.json',
];

/** The tokenizer of a model directory. */
export const loadTokenizer =
  (dir: string): TaskEither<FatalError, Tokenizer> =>
  async () => {
    try {
      const present = new Set(await readdir(dir));
      const files: Record<string, string> = {};
      for (const name of fileNames) if (present.has(name)) files[name] = await readFile(join(dir, name), 'utf8');
      const json = files['tokenizer.json'];
      if (json === undefined) return left(fatal('E_TOKENIZER_MISSING', 'no tokenizer.json', { file: dir }));
      return makeTokenizer(JSON.parse(json), JSON.parse(files['tokenizer_config.json'] ?? '{}'), files);
    } catch (cause) {
      return left(fatal('E_TOKENIZER_INVALID', String(cause), { file: dir, cause }));
    }
  };
