/** By which rule a text is cut into words before merging, in llama.cpp's terms. */
import { fieldsOf } from '../json/jsonRecord.js';
import type { JsonRecord } from '../json/jsonRecord.js';

/** A rule of llama.cpp's. */
export interface Cut {
  readonly name: string;
  /** Words that are tokens are taken whole there, whatever merges say. */
  readonly takesWhole: boolean;
  /** It parts words before combining marks, which the tokenizer does not. */
  readonly partsMarks?: boolean;
}

const listOf = (value: unknown): ReadonlyArray<unknown> => (Array.isArray(value) ? value : []);

/** The parts of a pre-tokenizer, one after another. */
export const stepsOf = (preTokenizer: unknown): ReadonlyArray<JsonRecord> => {
  const fields = fieldsOf(preTokenizer);
  return fields['type'] === 'Sequence'
    ? listOf(fields['pretokenizers']).flatMap(stepsOf)
    : 'type' in fields
      ? [fields]
      : [];
};

const contraction = "(?i:'s|'t|'re|'ve|'m|'ll|'d)";
const words = `${contraction}|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+`;
const ends = '\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+';
const rest = ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|${ends}`;

/** Words of small letters behind large ones, and of large ones before small ones, each with what `behind` lets follow. */
const byCase = (behind: string): string => {
  const [large, small] = ['[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]', '[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]'];
  const word = (letters: string): string => `[^\\r\\n\\p{L}\\p{N}]?${letters}${behind}`;
  return `${word(`${large}*${small}+`)}|${word(`${large}+${small}*`)}`;
};

const restWithSlash = ` ?[^\\s\\p{L}\\p{N}]+[\\r\\n/]*|${ends}`;

const chinese = '[一-龥぀-ゟ゠-ヿ]+';
const byThrees = '\\p{N}{1,3}';
/** Blanks by so many at a time, and what is left of them. */
const blanksByTwos = [512, 256, 128, 64, 32, 16, 8, 4].map((count) => `\\s{${count}}(?!\\S)`).join('|');

/** Regular expressions that cut a text into words, one after the other, and llama.cpp's rules that cut so. */
const knownPatterns: ReadonlyMap<string, ReadonlyArray<Cut>> = new Map(
  (
    [
      [
        [
          { name: 'llama-bpe', takesWhole: true },
          { name: 'dbrx', takesWhole: false },
        ],
        `${words}|${byThrees}|${rest}`,
      ],
      [[{ name: 'qwen2', takesWhole: false }], `${words}|\\p{N}|${rest}`],
      [
        [{ name: 'qwen35', takesWhole: false }],
        `${contraction}|[^\\r\\n\\p{L}\\p{N}]?[\\p{L}\\p{M}]+|\\p{N}| ?[^\\s\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|${ends}`,
      ],
      [[{ name: 'tekken', takesWhole: true, partsMarks: true }], `${byCase('')}|\\p{N}|${restWithSlash}`],
      [
        [{ name: 'gpt-4o', takesWhole: false, partsMarks: true }],
        `${byCase(`${contraction}?`)}|${byThrees}|${restWithSlash}`,
      ],
      [
        [{ name: 'deepseek-v3', takesWhole: false }],
        byThrees,
        chinese,
        '[!"#$%&\'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| ?[\\p{P}\\p{S}]+[\\r\\n]*|' +
          ends,
      ],
      [[{ name: 'seed-coder', takesWhole: false }], `${words}|\\p{N}{1}| ?[^\\s\\p{L}\\p{N}\\r\\n]+|${ends}`],
      [
        [{ name: 'jais-2', takesWhole: false }],
        `${words}|${byThrees}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|${blanksByTwos}|\\s{1,2}(?!\\S)|\\s{1}`,
      ],
      [
        [{ name: 'youtu', takesWhole: true }],
        `[가-힣ㄱ-ㆎ]+|[！…“”‘’—：；，、-〿︰-﹏]+|[ㄅ-ㄯ]+|${chinese}`,
        `${byCase(`${contraction}?`)}|\\p{N}|${restWithSlash}`,
      ],
      [[{ name: 'bloom', takesWhole: false }], ' ?[^(\\s|[.,!?…。，、।۔،])]+'],
    ] as const
  ).map(([cuts, ...patterns]) => [patterns.join('\n'), cuts]),
);

/** Ends of lines as expressions write them: some files have the characters themselves. */
const written = (pattern: string): string => pattern.replaceAll('\r', '\\r').replaceAll('\n', '\\n');

/** Falcon cuts at punctuation, then as GPT-2 does, then digits from letters and by threes. */
const cutsAsFalcon = (steps: ReadonlyArray<JsonRecord>): boolean => {
  const [marks, bytes, digits, threes, ...others] = steps;
  return (
    others.length === 0 &&
    marks?.['type'] === 'Punctuation' &&
    marks['behavior'] === 'Contiguous' &&
    bytes?.['type'] === 'ByteLevel' &&
    bytes['add_prefix_space'] !== true &&
    bytes['use_regex'] !== false &&
    digits?.['type'] === 'Digits' &&
    digits['individual_digits'] !== true &&
    threes?.['type'] === 'Split' &&
    fieldsOf(threes['pattern'])['Regex'] === '[0-9][0-9][0-9]'
  );
};

const merging = (name: string): ReadonlyArray<Cut> => [{ name, takesWhole: false }];

/** What it finds and what lies between both stay, as words. */
const keepsAll = ({ behavior, invert }: JsonRecord): boolean =>
  behavior === 'Isolated' || (behavior === 'Removed' && invert === true);

/** llama.cpp's rules that cut a text as a pre-tokenizer of tokenizer.json does; none for one that it has not. */
export const cutsLike = (preTokenizer: unknown): ReadonlyArray<Cut> => {
  const steps = stepsOf(preTokenizer);
  if (cutsAsFalcon(steps)) return merging('falcon');
  const last = steps.at(-1);
  if (last?.['type'] !== 'ByteLevel' || last['add_prefix_space'] === true) return [];
  const cutsItself = last['use_regex'] !== false;
  const before = steps.slice(0, -1);
  const splits = before.filter(({ type }) => type === 'Split');
  const patterns = splits.map(({ pattern }) => String(fieldsOf(pattern)['Regex'] ?? fieldsOf(pattern)['String']));
  if (before.length === 0) return cutsItself ? merging('gpt-2') : [];
  if (cutsItself && before.length === 1 && before[0]?.['type'] === 'Digits' && before[0]['individual_digits'] === true)
    return merging('smollm');
  if (cutsItself || !splits.every(keepsAll)) return [];
  const known = splits.length === before.length ? knownPatterns.get(patterns.map(written).join('\n')) : undefined;
  if (known !== undefined) return known;
  // DeepSeek-LLM and DeepSeek-Coder cut by sequences of which one step knows the Chinese, Japanese and Korean letters.
  if (!patterns.includes('[一-龥ࠀ-一가-퟿]+') || !before.some(({ type }) => type === 'Digits')) return [];
  return merging(patterns.includes('\\s?\\p{P}+') ? 'deepseek-coder' : 'deepseek-llm');
};
