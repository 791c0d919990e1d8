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

/** Where the reading stands, over the borders of chunks. */
interface Place {
  readonly file: string;
  readonly layout: Layout;
  expects: Expects;
  line: number;
  /** Whole elements so far. */
  count: number;
  /** Closing bytes of the brackets that are open inside the element. */
  readonly open: Array<number>;
  inString: boolean;
  escaped: boolean;
}

/** What a byte means for the element: one begins with it, ends before or with it, or it stands where it cannot. */
type Turn = 'none' | 'begins' | 'ends before' | 'ends with' | 'breaks';

/** Reads on in a string, and says where it looked last: at its closing quote or behind the chunk. */
const throughString = (place: Place, chunk: Uint8Array, from: number): number => {
  let at = from;
  if (place.escaped) {
    place.escaped = false;
    if (chunk[at++] === lineFeed) place.line++;
  }
  for (; at < chunk.length; at++) {
    const byte = chunk[at];
    if (byte === quote) {
      place.inString = false;
      return at;
    }
    if (byte === lineFeed) place.line++;
    else if (byte === backslash) {
      if (++at === chunk.length) place.escaped = true;
      else if (chunk[at] === lineFeed) place.line++;
    }
  }
  return at;
};

const insideElement = (place: Place, byte: number): Turn => {
  const { open } = place;
  if (byte === quote) place.inString = true;
  else if (byte === openObject || byte === openList) {
    open.push(byte === openObject ? closeObject : closeList);
    if (open.length > maxDepth) return 'breaks';
  } else if (open.length > 0) {
    if (byte === lineFeed) place.line++;
    else if (byte === closeObject || byte === closeList) {
      if (open.at(-1) !== byte) return 'breaks';
      open.pop();
      if (open.length === 0) return 'ends with';
    }
  } else if (isSpace(byte) || byte === comma || byte === closeList) {
    // A number or a word ends at what follows it, which is looked at again.
    return 'ends before';
  } else if (byte === closeObject) return 'breaks';
  return 'none';
};

const betweenElements = (place: Place, byte: number): Turn => {
  const { expects } = place;
  if (isSpace(byte)) {
    if (byte === lineFeed) place.line++;
    return 'none';
  }
  if (expects === 'start' && byte === openList) place.expects = 'value or end';
  else if (expects === 'separator' && byte === comma) place.expects = 'value';
  else if (byte === closeList && (expects === 'separator' || (expects === 'value or end' && place.layout === 'array')))
    place.expects = 'nothing';
  else if (expects !== 'value' && expects !== 'value or end') return 'breaks';
  else if (byte === comma || byte === closeList || byte === closeObject) return 'breaks';
  else return 'begins';
  return 'none';
};

const wrong = ({ file, line, count, open, expects }: Place, byte: number): FatalError =>
  fatal('E_INVALID_JSON', `${file}:${line}: the JSON breaks after ${counted(count, 'row')}`, {
    file,
    line,
    expected: open.length > 0 ? `"${String.fromCharCode(open[open.length - 1] ?? 0)}"` : expectation[expects],
    actual: JSON.stringify(String.fromCharCode(byte)),
  });

const tooLong = (file: string, line: number, most: number): FatalError =>
  fatal('E_ELEMENT_TOO_LONG', `${file}:${line}: one row is longer than ${most} bytes`, {
    file,
    line,
    hint: 'rows must be the elements of the outermost list, not of a list inside an object',
  });

const truncated = ({ file, layout, line, count, expects }: Place): FatalError =>
  fatal(
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
  const first = layout === 'array' ? 'start' : 'value or end';
  const place: Place = { file, layout, expects: first, line: 1, count: 0, open: [], inString: false, escaped: false };
  let startLine = 1;
  let carried: Array<Uint8Array> = [];
  let carriedBytes = 0;

  for await (const chunk of bytes) {
    const elements: Array<ElementBytes> = [];
    let failure: FatalError | undefined;
    let start = 0;
    const finish = (end: number): void => {
      const last = chunk.subarray(start, end);
      elements.push({ line: startLine, bytes: carriedBytes === 0 ? last : Buffer.concat([...carried, last]) });
      carried = [];
      carriedBytes = 0;
      place.count++;
      place.expects = layout === 'array' ? 'separator' : 'value or end';
    };

    for (let at = 0; at < chunk.length && failure === undefined; at++) {
      if (place.inString) {
        at = throughString(place, chunk, at);
        if (at < chunk.length && place.open.length === 0) finish(at + 1);
        continue;
      }
      const byte = chunk[at] ?? 0;
      const turn = place.expects === 'inside' ? insideElement(place, byte) : betweenElements(place, byte);
      if (turn === 'ends with') finish(at + 1);
      else if (turn === 'ends before') finish(at--);
      else if (turn === 'breaks') failure = wrong(place, byte);
      else if (turn === 'begins') {
        place.expects = 'inside';
        startLine = place.line;
        start = at--;
      }
    }
    if (elements.length > 0) yield elements;
    if (failure !== undefined) throw failure;
    if (place.expects === 'inside') {
      const rest = chunk.subarray(start);
      carried.push(Uint8Array.from(rest));
      carriedBytes += rest.length;
      if (carriedBytes > maxElementBytes) throw tooLong(file, startLine, maxElementBytes);
    }
  }
  if (place.expects === 'nothing' || place.expects === 'start') return;
  if (layout === 'values' && place.expects === 'value or end') return;
  if (layout === 'values' && place.expects === 'inside' && place.open.length === 0 && !place.inString)
    yield [{ line: startLine, bytes: Buffer.concat(carried) }];
  else throw truncated(place);
}
