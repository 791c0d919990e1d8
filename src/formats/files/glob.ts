import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isLeft } from 'fp-ts/lib/Either.js';
import { usage } from '../../errors.js';
import { linearRegex } from '../regex/linearRegex.js';

const special = /[*?[\]{}]/;

/** One path segment of a pattern as a regular expression: `*`, `?`, `[abc]`, `[!abc]`, `{a,b}`. */
const segmentPattern = (segment: string): { readonly test: (name: string) => boolean } => {
  let source = '';
  let braces = 0;
  for (let at = 0; at < segment.length; at++) {
    const c = segment[at] ?? '';
    const close = c === '[' ? segment.indexOf(']', at + 2) : -1;
    if (c === '*') source += '[^/]*';
    else if (c === '?') source += '[^/]';
    else if (close !== -1) {
      const inside = segment.slice(at + 1, close).replace(/[\\\]]/g, '\\$&');
      source += `[${inside.startsWith('!') ? `^${inside.slice(1)}` : inside}]`;
      at = close;
    } else if (c === '{' && segment.includes('}', at)) {
      source += '(?:';
      braces++;
    } else if (c === '}' && braces > 0) {
      source += ')';
      braces--;
    } else if (c === ',' && braces > 0) source += '|';
    else source += c.replace(/[.+^$()|\\[\]{}]/g, '\\$&');
  }
  // A row of stars would make JavaScript's own matcher try every way to share a name out among them.
  const search = linearRegex(`^${source}$`, 'u');
  if (isLeft(search)) {
    throw usage('E_NO_FILE', `${segment} is not a pattern of file names: ${search.left}`, {
      file: segment,
    });
  }
  return search.right;
};

interface Listed {
  readonly name: string;
  /** A link to a directory is one, too. */
  readonly isDirectory: boolean;
  readonly isLink: boolean;
}

const entriesOf = async (dir: string): Promise<ReadonlyArray<Listed>> => {
  const found = await readdir(dir === '' ? '.' : dir, { withFileTypes: true }).catch(() => []);
  return await Promise.all(
    found
      .toSorted((a, b) => (a.name < b.name ? -1 : 1))
      .map(async (entry) => ({
        name: entry.name,
        isLink: entry.isSymbolicLink(),
        isDirectory: entry.isSymbolicLink()
          ? await stat(join(dir, entry.name)).then(
              (at) => at.isDirectory(),
              () => false,
            )
          : entry.isDirectory(),
      })),
  );
};

const below = (dir: string, name: string): string => (dir === '' ? name : join(dir, name));

/** `seen`: what has been looked for where; several `**` come to the same directory by many ways. */
const matching = async (
  dir: string,
  segments: ReadonlyArray<string>,
  seen = new Set<string>(),
): Promise<ReadonlyArray<string>> => {
  const [segment, ...rest] = segments;
  const place = `${segments.length}:${dir}`;
  if (segment === undefined || seen.has(place)) return [];
  seen.add(place);
  if (segment === '**') {
    const here = await matching(dir, rest, seen);
    const deeper: Array<string> = [];
    for (const { name, isDirectory, isLink } of await entriesOf(dir)) {
      // A link may lead back here, or to files that are met under their own path: those would be read twice.
      if (isDirectory && !isLink && !name.startsWith('.'))
        deeper.push(...(await matching(below(dir, name), segments, seen)));
    }
    return [...here, ...deeper];
  }
  if (!special.test(segment) && rest.length > 0) return await matching(below(dir, segment), rest, seen);
  const pattern = segmentPattern(segment);
  const found: Array<string> = [];
  for (const { name, isDirectory } of await entriesOf(dir)) {
    // As in a shell, a leading dot must be asked for.
    if (!pattern.test(name) || (name.startsWith('.') && !segment.startsWith('.'))) continue;
    if (rest.length === 0) {
      if (!isDirectory) found.push(below(dir, name));
    } else if (isDirectory) found.push(...(await matching(below(dir, name), rest, seen)));
  }
  return found;
};

/**
 * The files that a path or pattern (`*`, `**`, `?`, `[…]`, `{a,b}`) stands for, sorted within each directory. `**` goes into every
 * directory below, but not through links, as with `datasets`: each directory is met once, and rings come to an end. Links that are
 * named, or met by another pattern, are followed. A path that exists is itself, whatever characters it has. No file at all is
 * `E_NO_FILE`.
 */
export const expandPattern = async (pattern: string): Promise<ReadonlyArray<string>> => {
  const exists = await stat(pattern).then(
    () => true,
    () => false,
  );
  if (exists || !special.test(pattern)) return [pattern];
  const absolute = pattern.startsWith('/');
  const found = await matching(
    absolute ? '/' : '',
    pattern
      .split('/')
      .filter((segment) => segment !== '' && segment !== '.')
      // Two such in a row say no more than one, and would read each directory many times.
      .filter((segment, i, all) => segment !== '**' || all[i - 1] !== '**'),
  );
  if (found.length === 0) {
    throw usage('E_NO_FILE', 'no file matches this pattern', { file: pattern });
  }
  return [...new Set(found)];
};

/** Whether a relative path (with `/`) matches a pattern: for lists of names that lie on no disk. */
export const pathMatcher = (pattern: string): ((path: string) => boolean) => {
  const segments = pattern.split('/').filter((segment) => segment !== '' && segment !== '.');
  const tests = segments.map((segment) => (segment === '**' ? undefined : segmentPattern(segment)));
  /** `failed`: places known to lead nowhere, or a row of `**` would be tried every way. */
  const from = (path: ReadonlyArray<string>, at: number, i: number, failed: Set<number>): boolean => {
    const place = at * (tests.length + 1) + i;
    if (failed.has(place)) return false;
    const found = goesOn(path, at, i, failed);
    if (!found) failed.add(place);
    return found;
  };
  const goesOn = (path: ReadonlyArray<string>, at: number, i: number, failed: Set<number>): boolean => {
    if (i === tests.length) return at === path.length;
    const test = tests[i];
    if (test === undefined) {
      // At the end `**` stands for files at any depth.
      return i === tests.length - 1
        ? at < path.length
        : from(path, at, i + 1, failed) || (at < path.length && from(path, at + 1, i, failed));
    }
    const segment = path[at];
    return segment !== undefined && test.test(segment) && from(path, at + 1, i + 1, failed);
  };
  return (path) => from(path.split('/'), 0, 0, new Set());
};
