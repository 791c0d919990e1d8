/** All matches of a pattern in a text, one after another. */
import { belongsTo } from './characterSet.js';
import { characterAt, widthOf } from './characters.js';
import { forgetTried, nothingKnown } from './known.js';
import { endOfMatch, type Reading } from './matcher.js';
import type { Programs } from './program.js';
import { makeWaiting } from './waiting.js';

export interface Search {
  /** [start, end) of all matches one after another, flat, as `matchAll` finds them with the flag g. */
  readonly spans: (text: string) => ReadonlyArray<number>;
  readonly test: (text: string) => boolean;
  /** The first match. */
  readonly first: (text: string) => string | undefined;
}

/** Calls back with each match, until `visit` has seen enough. */
const eachMatch = (reading: Reading, visit: (start: number, end: number) => boolean): void => {
  const { text, unicode, known } = reading;
  const [whole] = known;
  for (let position = 0; position <= text.length; ) {
    const end = endOfMatch(reading, 0, position);
    if (end >= 0) {
      if (!visit(position, end)) return;
      // On the way to the match no place has failed; beyond its end all that were tried have.
      if (whole !== undefined) forgetTried(whole, end);
    }
    if (end > position) position = end;
    else position += position < text.length ? widthOf(characterAt(text, position, unicode)) : 1;
  }
};

/** What finds the matches of compiled programs; `unicode` as the flag `u` of the pattern. */
export const makeSearch = ({ programs, sets }: Programs, unicode: boolean): Search => {
  const belong = sets.map((set) => belongsTo(set, unicode));
  const waiting = programs.map(makeWaiting);
  const read = (text: string): Reading => ({
    text,
    unicode,
    programs,
    sets: belong,
    waiting,
    known: nothingKnown(programs, text),
  });

  const first = (text: string): string | undefined => {
    let found: string | undefined;
    eachMatch(read(text), (start, end) => {
      found = text.slice(start, end);
      return false;
    });
    return found;
  };

  return {
    spans: (text) => {
      const found: Array<number> = [];
      eachMatch(read(text), (start, end) => {
        found.push(start, end);
        return true;
      });
      return found;
    },
    test: (text) => first(text) !== undefined,
    first,
  };
};
