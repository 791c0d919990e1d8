/** vocab.json and merges.txt, which stood for a tokenizer before tokenizer.json did. */
import { type Either, left, right } from 'fp-ts/lib/Either.js';
import type { FatalError } from '../../errors.js';
import { fieldsOf, isJsonRecord } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import { invalidTokenizer } from './invalidTokenizer.js';
import { namedTokens } from './namedTokens.js';

const qwen2Pattern = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;

const bytes = { type: 'ByteLevel', add_prefix_space: false, trim_offsets: false, use_regex: false } as const;

/**
 * tokenizer.json of a vocab.json / merges.txt pair: what transformers' converters make of the GPT-2, RoBERTa and Qwen2
 * tokenizer classes.
 */
export const tokenizerOfPair = (
  vocab: unknown,
  mergesText: string,
  config: unknown,
  specialTokensMap: unknown,
): Either<FatalError, JsonRecord> => {
  if (!isJsonRecord(vocab)) return left(invalidTokenizer('vocab.json', 'the file does not hold a table of token ids'));
  const merges = mergesText
    .split('\n')
    .map((line) => line.replace(/\r$/, ''))
    .filter((line) => line !== '' && !line.startsWith('#version'));
  if (merges.some((line) => line.split(' ').length !== 2)) {
    return left(invalidTokenizer('merges.txt', 'a line does not hold two tokens with one blank between them'));
  }
  const options = fieldsOf(config);
  const names = namedTokens(options, fieldsOf(specialTokensMap));
  const kind = typeof options['tokenizer_class'] === 'string' ? options['tokenizer_class'] : '';
  const qwen = kind.startsWith('Qwen');
  const roberta = /^(?:Roberta|Bart|Longformer|LED|Blenderbot)/.test(kind);
  const prefixSpace = options['add_prefix_space'] === true;
  const special = (name: string, fallback: string): [string, number] => {
    const token = names[name] ?? fallback;
    const id = Object.hasOwn(vocab, token) ? vocab[token] : undefined;
    return [token, typeof id === 'number' ? id : 0];
  };
  const postProcessor = (): unknown => {
    if (roberta)
      return {
        type: 'RobertaProcessing',
        cls: special('cls_token', '<s>'),
        sep: special('sep_token', '</s>'),
        trim_offsets: true,
        add_prefix_space: prefixSpace,
      };
    const bos = names['bos_token'];
    if (options['add_bos_token'] !== true || bos === undefined) return bytes;
    return {
      type: 'TemplateProcessing',
      single: [{ SpecialToken: { id: bos, type_id: 0 } }, { Sequence: { id: 'A', type_id: 0 } }],
      pair: [{ Sequence: { id: 'A', type_id: 0 } }, { Sequence: { id: 'B', type_id: 1 } }],
      // The tokenizers library refuses a template whose tokens it does not list.
      special_tokens: { [bos]: { id: bos, ids: [special('bos_token', bos)[1]], tokens: [bos] } },
    };
  };
  return right({
    version: '1.0',
    truncation: null,
    padding: null,
    added_tokens: [],
    normalizer: qwen ? { type: 'NFC' } : null,
    pre_tokenizer: qwen
      ? {
          type: 'Sequence',
          pretokenizers: [
            { type: 'Split', pattern: { Regex: qwen2Pattern }, behavior: 'Isolated', invert: false },
            bytes,
          ],
        }
      : { ...bytes, add_prefix_space: prefixSpace, use_regex: true },
    post_processor: postProcessor(),
    decoder: { ...bytes, add_prefix_space: true, use_regex: true },
    model: {
      type: 'BPE',
      dropout: null,
      unk_token: null,
      continuing_subword_prefix: '',
      end_of_word_suffix: '',
      fuse_unk: false,
      byte_fallback: false,
      ignore_merges: false,
      vocab,
      merges,
    },
  });
};
