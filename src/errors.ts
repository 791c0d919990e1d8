/** Where something was found wrong. */
export interface Place {
  readonly file?: string;
  /** 1-based. */
  readonly line?: number;
  readonly field?: string;
}

/** What an error tells beside its message. */
export interface ErrorDetails extends Place {
  readonly expected?: string;
  readonly actual?: string;
  /** What the reader can do about it. */
  readonly hint?: string;
}

/** Says which fault it is, for code to ask: `E_NO_FILE`, … */
export type ErrorCode = `E_${string}`;
/** Says which warning it is, for code to ask: `W_NO_EOS`, … */
export type WarningCode = `W_${string}`;

/** One record refused, by value: it goes to the rejected stream and is counted. */
export interface DataError extends ErrorDetails {
  readonly _tag: 'DataError';
  readonly code: ErrorCode;
  readonly message: string;
}

/** Something the run goes on after but the user should know. */
export interface Warning extends ErrorDetails {
  readonly _tag: 'Warning';
  readonly code: WarningCode;
  readonly message: string;
}

/**
 * What is wrong with one record, as a value: what a transform of your own answers in `left(…)`.
 *
 *     left(dataError('E_ODD', `${n} is odd`, { expected: 'an even number', hint: 'round it' }))
 */
export const dataError = (code: ErrorCode, message: string, details: ErrorDetails = {}): DataError => ({
  _tag: 'DataError',
  code,
  message,
  ...details,
});

/** A warning as a value, for a `warn` of your own to tell. */
export const warning = (code: WarningCode, message: string, details: ErrorDetails = {}): Warning => ({
  _tag: 'Warning',
  code,
  message,
  ...details,
});

/** What a fatal error tells beside its message. */
export interface FatalDetails extends ErrorDetails {
  readonly cause?: unknown;
  /** `usage`: the call was wrong (exit code 2); `run`: the run failed (exit code 1). */
  readonly kind?: 'usage' | 'run';
}

/** The run cannot go on. Travels the error channel of Observables and the left side of TaskEithers. */
export class FatalError extends Error {
  readonly _tag = 'FatalError';
  override readonly name = 'FatalError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;
  readonly kind: 'usage' | 'run';

  constructor(code: ErrorCode, message: string, { cause, kind = 'run', ...details }: FatalDetails = {}) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
    this.kind = kind;
  }
}

/** A `FatalError`: for code of your own that must end a run. */
export const fatal = (code: ErrorCode, message: string, details: FatalDetails = {}): FatalError =>
  new FatalError(code, message, details);

/** A call that cannot be followed (exit code 2): which option or part of it, and what to give instead. */
export const usage = (code: ErrorCode, message: string, details: Omit<FatalDetails, 'kind'> = {}): FatalError =>
  fatal(code, message, { ...details, kind: 'usage' });

/** Makes a refused record fatal: what a stage without a side door does. */
export const fatalFromData = ({ code, message, _tag, ...details }: DataError): FatalError =>
  fatal(code, message, details);

/** Whether something that was thrown, or came down an error channel, is a `FatalError`; `render` tells it in words. */
export const isFatal = (value: unknown): value is FatalError =>
  typeof value === 'object' && value !== null && '_tag' in value && value._tag === 'FatalError';

/** A FatalError as it is. Anything else is a fault of the program, not of its input, and is thrown on. */
export const onlyFatal = (cause: unknown): FatalError => {
  if (isFatal(cause)) return cause;
  throw cause;
};

const place = ({ file, line, field }: Place): string => {
  const where =
    file === undefined ? (line === undefined ? '' : `line ${line}`) : line === undefined ? file : `${file}:${line}`;
  if (field === undefined) return where;
  // What is called by a flag is no field of anything.
  const named = field.startsWith('--') ? field : `field "${field}"`;
  return where === '' ? named : `${where}, ${named}`;
};

/** What of a place its message does not say itself: many begin with the file, and those of a call name the flag. */
const untold = ({ file, line, field }: Place, message: string): Place => {
  const atLine = { ...(file === undefined ? {} : { file }), ...(line === undefined ? {} : { line }) };
  const isFileTold = file !== undefined && message.startsWith(place(atLine));
  const isFlagTold = field?.startsWith('--') === true && message.split(' ').includes(field);
  return { ...(isFileTold ? {} : atLine), ...(field === undefined || isFlagTold ? {} : { field }) };
};

/** Credentials of an address: what stands before its host, however its slashes have fared as a path. */
const credentials = /\b([a-z][a-z0-9+.-]{0,20}:\/{1,2})[^\s/@:"<>|`]{0,200}:[^\s/@"<>|`]{1,400}@/gi;
/** Tokens of the Hub. */
const hubTokens = /\bhf_[A-Za-z0-9]{16,}/g;

/** A text for people without what opens doors: passwords in addresses and tokens of the Hub give way to `…`. */
export const withoutSecrets = (text: string): string => text.replace(credentials, '$1…@').replace(hubTokens, 'hf_…');

const isOurs = (value: unknown): value is DataError | FatalError | Warning =>
  typeof value === 'object' &&
  value !== null &&
  '_tag' in value &&
  (value._tag === 'DataError' || value._tag === 'FatalError' || value._tag === 'Warning');

/**
 * One readable message of an error or warning: place, what was wrong, expected and actual, what to do, code. Never a secret; no stack
 * trace either, but of what is none of these: whatever else was thrown is a fault in some code, and told with its stack.
 */
export const render = (error: unknown): string => {
  if (!isOurs(error)) return withoutSecrets(error instanceof Error ? (error.stack ?? String(error)) : String(error));
  const details: ErrorDetails = error._tag === 'FatalError' ? error.details : error;
  const where = place(untold(details, error.message));
  const lines = [`${where === '' ? '' : `${where}: `}${error.message} [${error.code}]`];
  if (details.expected !== undefined) lines.push(`  expected: ${details.expected}`);
  if (details.actual !== undefined) lines.push(`  actual:   ${details.actual}`);
  if (details.hint !== undefined) lines.push(`  try:      ${details.hint}`);
  return withoutSecrets(lines.join('\n'));
};

/** fp-ts's Either, by its shape. */
type Outcome<E, A> = { readonly _tag: 'Left'; readonly left: E } | { readonly _tag: 'Right'; readonly right: A };

const valueOf = <A>(outcome: Outcome<DataError | FatalError, A>): A => {
  if (outcome._tag === 'Right') return outcome.right;
  throw outcome.left._tag === 'DataError' ? fatalFromData(outcome.left) : outcome.left;
};

/**
 * For scripts that want no Either: the value of a task as a Promise, or that of an Either at once, a Left thrown as a `FatalError`.
 *
 *     const { model, tokenizer } = await orThrow(load('./model'));
 *     const ids = orThrow(promptTokens({ tokenizer })({ kind: 'text', text: 'Once' }));
 */
export function orThrow<A>(task: () => Promise<Outcome<FatalError, A>>): Promise<A>;
export function orThrow<A>(outcome: Outcome<DataError | FatalError, A>): A;
export function orThrow<A>(
  given: (() => Promise<Outcome<FatalError, A>>) | Outcome<DataError | FatalError, A>,
): Promise<A> | A {
  return typeof given === 'function' ? given().then(valueOf) : valueOf(given);
}
