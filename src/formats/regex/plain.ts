/** Patterns on which plain backtracking takes time in proportion to the text: JavaScript's own matcher, the fastest, may run them. */
import { nullable, type Syntax } from './syntax.js';

/** Ways through a part that are tried at worst; more are not counted. */
const mostWays = 256;

/** Ways through what matches few characters: Infinity where it may match any number of them. */
const waysThrough = (syntax: Syntax): number => {
  switch (syntax.kind) {
    case 'set':
    case 'border':
      return 1;
    case 'sequence':
      return syntax.parts.reduce((ways, part) => ways * waysThrough(part), 1);
    case 'choice':
      return syntax.options.reduce((ways, option) => ways + waysThrough(option), 0);
    case 'repeat': {
      if (syntax.max === Infinity) return Infinity;
      const one = waysThrough(syntax.body);
      // Of a single way there is one for each number of times.
      return one === 1 ? syntax.max + 1 : (one + 1) ** syntax.max;
    }
    case 'look':
      return waysThrough(syntax.body);
  }
};

const bounded = (syntax: Syntax): boolean => waysThrough(syntax) <= mostWays;

/** The set of which a part takes any number of characters, as many as there are; undefined where it is another part. */
const runOf = (part: Syntax | undefined): { readonly source: string; readonly min: number } | undefined =>
  part?.kind === 'repeat' && part.max === Infinity && part.min <= 16 && !part.lazy && part.body.kind === 'set'
    ? { source: part.body.source, min: part.min }
    : undefined;

const partsOf = (syntax: Syntax): ReadonlyArray<Syntax> => (syntax.kind === 'sequence' ? syntax.parts : [syntax]);

const isOptional = (part: Syntax): boolean =>
  part.kind === 'repeat' &&
  part.min === 0 &&
  !part.lazy &&
  (runOf(part) !== undefined || (bounded(part) && !nullable(part.body)));

/** Few characters, then a run and options behind which nothing can fail: no run is ever given up. */
const neverTurnsBack = (parts: ReadonlyArray<Syntax>): boolean => {
  const at = parts.findIndex((part) => !bounded(part));
  if (at === -1) return bounded({ kind: 'sequence', parts });
  return (
    bounded({ kind: 'sequence', parts: parts.slice(0, at) }) &&
    runOf(parts[at]) !== undefined &&
    parts.slice(at + 1).every(isOptional)
  );
};

/** The set of the run that an option begins with, where what follows it may make it give up again, at worst all of it. */
const mayGiveUp = ([first, ...rest]: ReadonlyArray<Syntax>): string | undefined =>
  rest.length > 0 && neverTurnsBack(rest) ? runOf(first)?.source : undefined;

/**
 * An option that may give up a run, where the next one that cannot takes the same run whole: then that happens once a run and option.
 * `\s+(?!\S)|\s+` and `\s*[\r\n]+|\s+` are such.
 */
const isRescued = (option: ReadonlyArray<Syntax>, later: ReadonlyArray<Syntax>): boolean => {
  const source = mayGiveUp(option);
  if (source === undefined) return false;
  const rescue = later.find((next) => mayGiveUp(partsOf(next)) !== source);
  const run = runOf(rescue);
  return run?.source === source && run.min <= 1;
};

/** Whether it can be run by backtracking without a care: a choice of options each of which is one of the above. */
export const isPlain = (syntax: Syntax): boolean => {
  const options = syntax.kind === 'choice' ? syntax.options : [syntax];
  return options.every(
    (option, i) => neverTurnsBack(partsOf(option)) || isRescued(partsOf(option), options.slice(i + 1)),
  );
};
