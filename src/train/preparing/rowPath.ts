/** What `prepare` and `preflight` share: the options of each stage of a row's way, from setup and configuration. */
import type { Warning } from '../../errors.js';
import { decodeExample } from '../../formats/examples/example.js';
import { surroundOf } from '../../formats/tokenizing/surround.js';
import type { Surround } from '../../formats/tokenizing/surround.js';
import type { Tokenizer } from '../../formats/tokenizing/tokenizer.js';
import { formattedBy, textField } from '../../operators/decode.js';
import type { Decode, FormattingFunc } from '../../operators/decode.js';
import type { FormatOptions } from '../../operators/format.js';
import type { MaskCompletionsOptions } from '../../operators/maskCompletions.js';
import { templateIds } from '../../operators/responses.js';
import type { TokenizeOptions } from '../../operators/tokenize.js';
import type { TokenizerCut } from '../../operators/tokenizerCut.js';
import type { Example } from '../../records.js';
import type { SftConfig } from '../options/config.js';
import { isParity } from '../options/parity.js';

/** What the way of a row needs that is no option. */
export interface RowPathSetup {
  /** Not needed for rows that bring token ids. */
  readonly tokenizer?: Tokenizer | undefined;
  /** What a row is trained as, in place of what its columns say. */
  readonly formattingFunc?: FormattingFunc | undefined;
}

/** The options that say what a row is decoded, formatted, tokenised and masked as. */
export type RowPathConfig = Pick<
  SftConfig,
  | 'datasetTextField'
  | 'packing'
  | 'addSpecialTokens'
  | 'completionOnlyLoss'
  | 'promptBorder'
  | 'assistantOnlyLoss'
  | 'responseTemplate'
  | 'instructionTemplate'
  | 'parity'
> & {
  /** Tokens a row, or a window of packed ones. */
  readonly maxLength: number;
};

export interface RowPath {
  readonly shape: Decode<Example>;
  readonly format: FormatOptions;
  readonly tokenize: TokenizeOptions;
  readonly mask: MaskCompletionsOptions;
}

/** A tokenizer for rows that bring their ids: it is never asked for anything else. */
const noTokenizer = {
  encode: (): Int32Array => new Int32Array(0),
  encodeWithOffsets: (): { readonly ids: Int32Array; readonly offsets: Int32Array } => ({
    ids: new Int32Array(0),
    offsets: new Int32Array(0),
  }),
};

const bare: Surround = { prefix: new Int32Array(0), suffix: new Int32Array(0) };

/** 0.7.10 has its tokenizer cut rows, which are masked afterwards. */
const cutOf = (tokenizer: Tokenizer | undefined, config: RowPathConfig): TokenizerCut | undefined => {
  if (tokenizer === undefined || !isParity(config) || config.packing) return undefined;
  const { prefix, suffix } = config.addSpecialTokens === false ? bare : surroundOf(tokenizer);
  return { maxLength: config.maxLength, prefix, suffix, side: tokenizer.truncationSide ?? 'right' };
};

export const rowPath = (
  { tokenizer, formattingFunc }: RowPathSetup,
  config: RowPathConfig,
  warn: (warning: Warning) => void,
): RowPath => {
  const { parity, datasetTextField, responseTemplate, instructionTemplate } = config;
  // A template in words is found in the text, where token context cannot hide it; 0.7.10 looked among ids.
  const byText = typeof responseTemplate === 'string' && typeof instructionTemplate !== 'object' && !isParity(config);
  const idsOf = (template: string | ReadonlyArray<number> | undefined): ReadonlyArray<number> | undefined =>
    template === undefined || byText ? undefined : templateIds(template, tokenizer ?? noTokenizer);
  return {
    // In 0.7.10 the text field goes before the formatter when not packing, and after it when packing.
    shape:
      datasetTextField !== undefined && !(formattingFunc !== undefined && config.packing)
        ? textField(datasetTextField)
        : formattingFunc !== undefined
          ? formattedBy(formattingFunc, { warn })
          : decodeExample,
    format: {
      tokenizer,
      addSpecialTokens: config.addSpecialTokens,
      parity,
      warn,
    },
    tokenize: {
      tokenizer: tokenizer ?? noTokenizer,
      promptBorder: config.promptBorder,
      ...(byText ? { responseTemplate, instructionTemplate } : {}),
      warn,
    },
    mask: {
      completionOnlyLoss: config.completionOnlyLoss,
      assistantOnlyLoss: config.assistantOnlyLoss,
      responseTemplate: idsOf(responseTemplate),
      instructionTemplate: idsOf(instructionTemplate),
      parity,
      padTokenId: tokenizer?.padTokenId,
      cutAt: cutOf(tokenizer, config),
      tokenizer,
      warn,
    },
  };
};
