/** Cuts the elements of a JSON array (or of JSON values laid end to end) out of a stream of bytes, without parsing them. */
import { fatal } from '../../errors.js';
import type { FatalError } from '../../errors.js';
import type { Bytes } from '../files/byteSource.js';
import { counted } from '../counted.js';

/** The bytes of one element, and the 1-based line it starts on. */
export interface ElementBytes {
  readonly line: number;
  readonly bytes: Uint8Array;
}

/** How a list of JSON values is read. */
export interface ElementOptions {
  /** An element longer than this ends the run (`E_ELEMENT_TOO_LONG`). 256 MiB by default. */
  readonly maxElementBytes?: number | undefined;
}

/** `array`: `[a, b]`. `values`: `a b`, with or without line feeds between. */
export type Layout = 'array' | 'values';

const defaultMaxElementBytes = 256 * 1024 * 1024;
/** Deeper rows exist only to break parsers. */
const maxDepth = 4096;

const lineFeed = 0x0a;
const quote = 0x22;
const comma = 0x2c;
const openList = 0x5b;
const backslash = 0x5c;
const closeList = 0x5d;
const openObject = 0x7b;
const closeObject = 0x7d;

const isSpace = (byte: number): boolean => byte === 0x20 || byte === lineFeed || byte === 0x0d || byte === 0x09;

type Expects = 'start' | 'value or end' | 'value' | 'inside' | 'separator' | 'nothing';

const expectation: Readonly<Record<Expects, string>> = {
  start: '"["',
  'value or end': 'a row or "]"',
  value: 'a row',
  inside: 'the rest of a row',
  separator: '"," or "]"',
  nothing: 'the end of the file',
};

/**
 * Yields what each chunk completes. Throws `E_INVALID_JSON` where brackets or separators are wrong (from there on nobody can
 * tell where a row begins) and `E_TRUNCATED_JSON` when the file ends too early; what came before has been yielded by then.
 * An element is only cut out by its brackets and quotes: whether it is JSON, `JSON.parse` must say.
 */
export async function* jsonElements(
  file: string,
  bytes: Bytes,
  layout: Layout,
  { maxElementBytes = defaultMaxElementBytes }: ElementOptions = {},
): AsyncGenerator<ReadonlyArray<ElementBytes>, void, undefined> {
  let expects: Expects = layout === 'array' ? 'start' : 'value or end';
  let line = 1;
  let count = 0;
  let startLine = 1;
  /** Closing bytes of the brackets that are open inside the element. */
  const open: Array<number> = [];
  let inString = false;
  let escaped = false;
  let carried: Array<Uint8Array> = [];
  let carriedBytes = 0;

  const wrong = (byte: number): FatalError =>
    fatal('E_INVALID_JSON', `${file}:${line}: the JSON breaks after ${counted(count, 'row')}`, {
      file,
      line,
      expected: open.length > 0 ? `"${String.fromCharCode(open[open.length - 1] ?? 0)}"` : expectation[expects],
      actual: JSON.stringify(String.fromCharCode(byte)),
    });

  for await (const chunk of bytes) {
    const elements: Array<ElementBytes> = [];
    let failure: FatalError | undefined;
    let start = 0;
    const finish = (end: number): void => {
      const last = chunk.subarray(start, end);
      elements.push({ line: startLine, bytes: carriedBytes === 0 ? last : Buffer.concat([...carried, last]) });
      carried = [];
      carriedBytes = 0;
      count++;
      expects = layout === 'array' ? 'separator' : 'value or end';
    };

    for (let at = 0; at < chunk.length && failure === undefined; at++) {
      let byte = chunk[at] ?? 0;
      if (inString) {
        if (escaped) escaped = false;
        else {
          while (byte !== quote && byte !== backslash && byte !== lineFeed && ++at < chunk.length) {
            byte = chunk[at] ?? 0;
          }
          if (at === chunk.length) break;
          if (byte === quote) {
            inString = false;
            if (open.length === 0) finish(at + 1);
          } else if (byte === backslash) escaped = true;
        }
        if (byte === lineFeed) line++;
        continue;
      }
      if (expects === 'inside') {
        if (byte === quote) inString = true;
        else if (byte === openObject || byte === openList) {
          open.push(byte === openObject ? closeObject : closeList);
          if (open.length > maxDepth) failure = wrong(byte);
        } else if (open.length > 0) {
          if (byte === lineFeed) line++;
          else if (byte === closeObject || byte === closeList) {
            if (open.pop() !== byte) {
              open.push(byte === closeObject ? closeList : closeObject);
              failure = wrong(byte);
            } else if (open.length === 0) finish(at + 1);
          }
        } else if (isSpace(byte) || byte === comma || byte === closeList) {
          // A number or a word ends at what follows it, which is looked at again.
          finish(at);
          at--;
        } else if (byte === closeObject) failure = wrong(byte);
        continue;
      }
      if (isSpace(byte)) {
        if (byte === lineFeed) line++;
        continue;
      }
      // Assigned by `finish` too, which control flow analysis does not see.
      switch (expects as Expects) {
        case 'start':
          if (byte === openList) expects = 'value or end';
          else failure = wrong(byte);
          break;
        case 'separator':
          if (byte === comma) expects = 'value';
          else if (byte === closeList) expects = 'nothing';
          else failure = wrong(byte);
          break;
        case 'nothing':
          failure = wrong(byte);
          break;
        default:
          if (byte === closeList && expects === 'value or end' && layout === 'array') expects = 'nothing';
          else if (byte === comma || byte === closeList || byte === closeObject) failure = wrong(byte);
          else {
            expects = 'inside';
            start = at;
            startLine = line;
            at--;
          }
      }
    }
    if (elements.length > 0) yield elements;
    if (failure !== undefined) throw failure;
    if (expects === 'inside') {
      const rest = chunk.subarray(start);
      carried.push(Uint8Array.from(rest));
      carriedBytes += rest.length;
      if (carriedBytes > maxElementBytes) {
        throw fatal('E_ELEMENT_TOO_LONG', `${file}:${startLine}: one row is longer than ${maxElementBytes} bytes`, {
          file,
          line: startLine,
          hint: 'rows must be the elements of the outermost list, not of a list inside an object',
        });
      }
    }
  }
  if (expects === 'inside' && layout === 'values' && open.length === 0 && !inString) {
    yield [{ line: startLine, bytes: Buffer.concat(carried) }];
    return;
  }
  if (expects === 'nothing' || expects === 'start') return;
  if (layout === 'values' && expects === 'value or end') return;
  throw fatal(
    'E_TRUNCATED_JSON',
    `${file}:${line}: the file ends inside ${layout === 'array' ? 'its list' : 'a row'}, after ${count} whole rows`,
    {
      file,
      line,
      expected: expectation[expects],
      actual: 'the end of the file',
      hint: 'the file is incomplete: copy or download it again',
    },
  );
}
