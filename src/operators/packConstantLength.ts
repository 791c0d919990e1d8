import { right } from 'fp-ts/lib/Either.js';
import type { OperatorFunction } from 'rxjs';
import { amongRun, known } from '../checked.js';
import type { OptionNames } from '../checked.js';
import { warning } from '../errors.js';
import type { Warning } from '../errors.js';
import type { Tokenizer } from '../formats/tokenizing/tokenizer.js';
import type { Formatted, Labelled } from '../records.js';
import { windowed } from '../streams/operator.js';
import type { Machine } from '../streams/operator.js';
import { shuffleRows } from './shuffle.js';
import { wholeNumber } from './wholeNumber.js';

/** Names and defaults of TRL 0.7.10's ConstantLengthDataset. */
export interface ConstantLengthOptions {
  readonly tokenizer: Pick<Tokenizer, 'encode' | 'eosTokenId'>;
  /** Tokens a window, 1 or more (else `E_OPTIONS` is thrown). Default 1024. */
  readonly seqLength?: number | undefined;
  /** A buffer holds text for about this many windows. Default 1024. */
  readonly numOfSequences?: number | undefined;
  /** Characters a token is taken to have. Default 3.6. */
  readonly charsPerToken?: number | undefined;
  /** The separator where the tokenizer has no eos id, or has 0. Default 0. */
  readonly eosTokenId?: number | undefined;
  /** Put the separator behind every row. Default true. */
  readonly appendConcatToken?: boolean | undefined;
  /** Whether the tokenizer adds its special tokens. Default true. */
  readonly addSpecialTokens?: boolean | undefined;
  /** Shuffle the windows of each buffer. Default true. */
  readonly shuffle?: boolean | undefined;
  /** Of that order. Default 0. */
  readonly seed?: number | undefined;
  /** `joined` (default, as in 0.7.10): tokens attend across row borders. `separate`: each row's part is its own document. */
  readonly documents?: 'joined' | 'separate' | undefined;
  /** Hears warnings. */
  readonly warn?: ((warning: Warning) => void) | undefined;
}

/** Its names, for calls that no compiler has looked at. */
const constantLengthOptionNames: OptionNames<ConstantLengthOptions> = {
  tokenizer: 'required',
  seqLength: 'optional',
  numOfSequences: 'optional',
  charsPerToken: 'optional',
  eosTokenId: 'optional',
  appendConcatToken: 'optional',
  addSpecialTokens: 'optional',
  shuffle: 'optional',
  seed: 'optional',
  documents: 'optional',
  warn: 'optional',
};

type Text = string | Pick<Formatted, 'text'>;

const textOf = (row: Text): string => (typeof row === 'string' ? row : row.text);

/** Python counts code points, so a surrogate pair is one character of the buffer. */
const codePoints = (text: string): number => {
  let pairs = 0;
  for (let i = 1; i < text.length; i++) {
    if ((text.charCodeAt(i) & 0xfc00) === 0xdc00 && (text.charCodeAt(i - 1) & 0xfc00) === 0xd800) pairs++;
  }
  return text.length - pairs;
};

const join = (parts: ReadonlyArray<Int32Array>): Int32Array => {
  const joined = new Int32Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    joined.set(part, at);
    at += part.length;
  }
  return joined;
};

/** Windows of one buffer's texts; the tail that fills none is dropped. */
const windowsOf = (texts: ReadonlyArray<string>, options: ConstantLengthOptions): ReadonlyArray<Labelled> => {
  const {
    tokenizer,
    seqLength = 1024,
    appendConcatToken = true,
    addSpecialTokens = true,
    documents = 'joined',
  } = options;
  // An eos id of 0 counts as missing, as `or` has it in Python.
  const separator =
    tokenizer.eosTokenId === undefined || tokenizer.eosTokenId === 0 ? (options.eosTokenId ?? 0) : tokenizer.eosTokenId;
  const concat = Int32Array.of(...(appendConcatToken ? [separator] : []));
  const parts = texts.map((text) => join([tokenizer.encode(text, { addSpecialTokens }), concat]));
  const ids = join(parts);
  const borders = new Set<number>();
  let border = 0;
  for (const part of parts) borders.add((border += part.length));
  const windows: Array<Labelled> = [];
  for (let start = 0; start + seqLength <= ids.length; start += seqLength) {
    const inputIds = ids.slice(start, start + seqLength);
    const seqLengths: Array<number> = [];
    if (documents === 'separate') {
      let from = 0;
      for (let t = 1; t <= seqLength; t++) {
        if (t < seqLength && !borders.has(start + t)) continue;
        seqLengths.push(t - from);
        from = t;
      }
    } else seqLengths.push(seqLength);
    windows.push({ inputIds, labels: inputIds.slice(), seqLengths });
  }
  return windows;
};

const makeMachine = (options: ConstantLengthOptions): (() => Machine<Text, Labelled>) => {
  const { seqLength = 1024 } = known('packConstantLength', amongRun(constantLengthOptionNames), options);
  wholeNumber('packConstantLength', 'seqLength', seqLength);
  return () => machine(options);
};

const machine = (options: ConstantLengthOptions): Machine<Text, Labelled> => {
  const { tokenizer, seqLength = 1024, numOfSequences = 1024, charsPerToken = 3.6, shuffle = true, seed = 0 } = options;
  if (tokenizer.eosTokenId === undefined) {
    options.warn?.(
      warning('W_NO_EOS', 'The tokenizer has no end-of-sequence token', {
        actual: `separator ${options.eosTokenId ?? 0} is used`,
      }),
    );
  }
  const capacity = seqLength * charsPerToken * numOfSequences;
  let texts: Array<string> = [];
  let characters = 0;
  let buffers = 0;
  const release = (): ReadonlyArray<Labelled> => {
    const windows = windowsOf(texts, options);
    texts = [];
    characters = 0;
    return shuffle ? shuffleRows({ seed, epoch: buffers++ })(windows) : windows;
  };
  return {
    push: (row) => {
      const text = textOf(row);
      texts.push(text);
      characters += codePoints(text);
      return right(characters >= capacity ? release() : []);
    },
    // A source that ends with a full buffer ends normally; 0.7.10 failed there.
    flush: () => (texts.length === 0 ? [] : release()),
  };
};

/** Texts → windows of exactly `seqLength` tokens, the tail of each buffer dropped. */
export const packConstantLengthRows = (
  options: ConstantLengthOptions,
): ((rows: ReadonlyArray<string | Pick<Formatted, 'text'>>) => ReadonlyArray<Labelled>) => {
  const makeOne = makeMachine(options);
  return (rows) => {
    const { push, flush } = makeOne();
    const windows: Array<Labelled> = [];
    for (const row of rows) {
      const released = push(row);
      if (released._tag === 'Right') for (const window of released.right) windows.push(window);
    }
    return [...windows, ...flush()];
  };
};

/** The packing of TRL 0.7.10. For its `infinite`, repeat the source before this operator (`restart`). */
export const packConstantLength = (
  options: ConstantLengthOptions,
): OperatorFunction<string | Pick<Formatted, 'text'>, Labelled> => windowed('packConstantLength', makeMachine(options));
