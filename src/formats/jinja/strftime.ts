/** Dates as texts, as C's `strftime` writes them in the C locale and local time. */

const days = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday'];
const months = [
  'January',
  'February',
  'March',
  'April',
  'May',
  'June',
  'July',
  'August',
  'September',
  'October',
  'November',
  'December',
];

const two = (value: number): string => value.toString().padStart(2, '0');

const hour12 = (date: Date): number => (date.getHours() % 12 === 0 ? 12 : date.getHours() % 12);

const msPerDay = 86_400_000;

/** From 1. Rounded, for a day may be an hour longer or shorter than others. */
const dayOfYear = (date: Date): number =>
  Math.round(
    (new Date(date.getFullYear(), date.getMonth(), date.getDate()).getTime() -
      new Date(date.getFullYear(), 0, 1).getTime()) /
      msPerDay,
  ) + 1;

const monthBriefly = (date: Date): string | undefined => months[date.getMonth()]?.slice(0, 3);

/** What a letter behind `%` stands for. */
const fields: ReadonlyMap<string, (date: Date) => string | undefined> = new Map([
  ['Y', (date) => date.getFullYear().toString()],
  ['y', (date) => two(date.getFullYear() % 100)],
  ['m', (date) => two(date.getMonth() + 1)],
  ['d', (date) => two(date.getDate())],
  ['e', (date) => date.getDate().toString().padStart(2, ' ')],
  ['H', (date) => two(date.getHours())],
  ['I', (date) => two(hour12(date))],
  ['M', (date) => two(date.getMinutes())],
  ['S', (date) => two(date.getSeconds())],
  ['f', (date) => (date.getMilliseconds() * 1000).toString().padStart(6, '0')],
  ['p', (date) => (date.getHours() < 12 ? 'AM' : 'PM')],
  ['A', (date) => days[date.getDay()]],
  ['a', (date) => days[date.getDay()]?.slice(0, 3)],
  ['B', (date) => months[date.getMonth()]],
  ['b', monthBriefly],
  ['h', monthBriefly],
  ['j', (date) => dayOfYear(date).toString().padStart(3, '0')],
  ['w', (date) => date.getDay().toString()],
  ['u', (date) => (date.getDay() === 0 ? 7 : date.getDay()).toString()],
  ['F', (date) => strftime(date, '%Y-%m-%d')],
  ['T', (date) => strftime(date, '%H:%M:%S')],
  ['D', (date) => strftime(date, '%m/%d/%y')],
  ['x', (date) => strftime(date, '%m/%d/%y')],
  ['R', (date) => strftime(date, '%H:%M')],
  ['X', (date) => strftime(date, '%H:%M:%S')],
  ['c', (date) => strftime(date, '%a %b %e %H:%M:%S %Y')],
  // A naive datetime has no zone.
  ['z', () => ''],
  ['Z', () => ''],
  ['n', () => '\n'],
  ['t', () => '\t'],
  ['%', () => '%'],
] satisfies ReadonlyArray<readonly [string, (date: Date) => string | undefined]>);

/** A date in a format; `%-d` and its like leave out what a number is filled up with. What no letter stands for is left as it is. */
export const strftime = (date: Date, format: string): string =>
  format.replace(/%-?([A-Za-z%])/g, (whole, letter: string) => {
    const text = fields.get(letter)?.(date);
    if (text === undefined) return whole;
    return whole.startsWith('%-') ? text.replace(/^[0 ]+(?=\d)/, '') : text;
  });
