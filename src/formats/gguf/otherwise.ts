/** What llama.cpp does otherwise with a tokenizer that it reads, and for what it cannot read one. */
import { fatal, warning } from '../../errors.js';
import type { FatalError, Warning } from '../../errors.js';
import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';
import type { TokenizerSpec } from '../tokenizing/spec.js';
import { stepsOf } from './cuts.js';
import type { Cut } from './cuts.js';
import { unmerged } from './unmerged.js';

export const unsupportedTokenizer = (what: string, field: string, expected: string): FatalError =>
  fatal('E_GGUF_TOKENIZER', `llama.cpp has no tokenizer that works like this one: ${what}`, {
    file: 'tokenizer.json',
    field,
    expected,
  });

const told = (message: string, field: string, hint: string): Warning =>
  warning('W_GGUF_TOKENIZER', message, { file: 'tokenizer.json', field, hint });

export const normalizersOf = (normalizer: unknown): ReadonlyArray<JsonRecord> => {
  const fields = fieldsOf(normalizer);
  if (fields['type'] !== 'Sequence') return 'type' in fields ? [fields] : [];
  const { normalizers } = fields;
  return Array.isArray(normalizers) ? normalizers.flatMap(normalizersOf) : [];
};

/** Those that change few texts, in letters that may be written in several ways. */
const forms: ReadonlySet<unknown> = new Set(['NFC', 'NFD', 'NFKC', 'NFKD', 'Precompiled']);

/** A blank as SentencePiece writes it. */
const writesBlanks = ({ type, prepend, pattern, content }: JsonRecord): boolean =>
  (type === 'Prepend' && prepend === '▁') ||
  (type === 'Replace' && fieldsOf(pattern)['String'] === ' ' && content === '▁');

/** The refusal of a tokenizer that changes texts before it cuts them. */
export const normalizerRefusal = ({ normalizer }: TokenizerSpec, blanks: boolean): FatalError | undefined => {
  const other = normalizersOf(normalizer).find((step) => !forms.has(step['type']) && !(blanks && writesBlanks(step)));
  return other && unsupportedTokenizer(`it changes texts by ${String(other['type'])}`, 'normalizer', 'none, or NFC');
};

export const normalizerWarnings = ({ normalizer }: TokenizerSpec): ReadonlyArray<Warning> =>
  normalizersOf(normalizer).flatMap(({ type }) =>
    forms.has(type)
      ? [
          told(
            `llama.cpp does not normalise texts (${String(type)})`,
            'normalizer',
            'texts that are not normalised, as of letters and their accents apart, become other tokens than here',
          ),
        ]
      : [],
  );

/** Tokens that Phi-3 has, and that take no blanks in. */
const plainOfPhi3 = ['<unk>', '<s>', '<|endoftext|>'];

/** By the name of a file llama.cpp takes blanks in behind added tokens as Phi-3 does, and wants its tokens then. */
export const namedPhi3 = (name: string | undefined): boolean => /phi-?3/i.test(name ?? '');

/** Whether llama.cpp opens a file of that name. */
export const opensNamed = (tokens: ReadonlyArray<string>, name: string | undefined): boolean =>
  !namedPhi3(name) || ['</s>', ...plainOfPhi3].every((token) => tokens.includes(token));

/** Blanks beside added tokens stay there, which some take in here. */
export const addedWarnings = ({ addedTokens }: TokenizerSpec, name: string | undefined): ReadonlyArray<Warning> => {
  const taking = addedTokens.filter(({ lstrip, rstrip, singleWord }) => lstrip || rstrip || singleWord);
  const asPhi3 = addedTokens.every(
    ({ content, lstrip, rstrip, singleWord }) => !lstrip && !singleWord && rstrip !== plainOfPhi3.includes(content),
  );
  if (taking.length === 0 || (asPhi3 && namedPhi3(name))) return [];
  return [
    told(
      'llama.cpp leaves the blanks beside added tokens that this tokenizer takes in, or finds such tokens within words',
      'added_tokens',
      asPhi3
        ? 'give the file a name (--name) with "Phi-3" in it: then it takes them in, too'
        : `write no blanks beside ${taking
            .slice(0, 3)
            .map(({ content }) => content)
            .join(', ')}`,
    ),
  ];
};

/** Where words that are tokens are taken whole there, or here, and not on the other side. */
export const cutWarnings = (
  { partsMarks = false, takesWhole }: Cut,
  { model }: TokenizerSpec,
  tokens: ReadonlyArray<string>,
  merges: ReadonlyArray<string>,
): ReadonlyArray<Warning> => {
  const apart = takesWhole === (model['ignore_merges'] === true) ? [] : unmerged(tokens, merges);
  return [
    ...(partsMarks
      ? [
          told(
            'llama.cpp parts words before combining marks',
            'pre_tokenizer',
            'texts of scripts that have such (as Hindi) may become other tokens than here',
          ),
        ]
      : []),
    ...(apart.length === 0
      ? []
      : [
          told(
            `llama.cpp ${takesWhole ? 'takes words whole that are tokens' : 'only merges'}, which this tokenizer does not`,
            'model.ignore_merges',
            `${apart.length} words become other tokens than here, as "${apart[0]}"`,
          ),
        ]),
  ];
};

/** SentencePiece's pieces before merging. */
export const piecesRefusal = ({ preTokenizer }: TokenizerSpec): FatalError | undefined => {
  const other = stepsOf(preTokenizer).find(
    ({ type, pattern }) => type !== 'Metaspace' && !(type === 'Split' && fieldsOf(pattern)['String'] === ' '),
  );
  return (
    other && unsupportedTokenizer(`it cuts texts by ${String(other['type'])}`, 'pre_tokenizer', 'none, or Metaspace')
  );
};

/** There a blank comes before what follows a special token, too. */
export const blankWarnings = ({ preTokenizer }: TokenizerSpec): ReadonlyArray<Warning> =>
  stepsOf(preTokenizer).some((step) => step['prepend_scheme'] === 'first')
    ? [
        told(
          'llama.cpp puts a blank before a text behind every special token, not at the beginning alone',
          'pre_tokenizer.prepend_scheme',
          'what follows a special token in a chat becomes other tokens than here',
        ),
      ]
    : [];
