/**
 * Numbers as charts need them. Each function stands alone, without a name from outside: the page's script holds their very text, so
 * that what the laws say here holds in the reader's browser.
 */

/** Round numbers (1, 2 or 5 times a power of ten) at and around [low, high], about `count` of them. */
export const ticks = (low: number, high: number, count: number): ReadonlyArray<number> => {
  const span = high - low;
  if (!(span > 0) || !Number.isFinite(span)) return [low];
  const raw = span / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  const step = ([1, 2, 5, 10].find((factor) => factor * power >= raw * (1 - 1e-9)) ?? 10) * power;
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => (first + i) * step);
};

/** A number as short as it can be read: 12.5k, 0.032, 2e-4. */
export const short = (value: number): string => {
  const size = Math.abs(value);
  if (size >= 1e9) return `${Number((value / 1e9).toPrecision(3))}B`;
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size > 0 && size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return String(Number(value.toPrecision(4)));
};

/** Bytes in the unit that leaves one to three digits before the point: 812 MB, 1.4 GB. */
export const bytes = (value: number): string => {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let [size, unit] = [value, 0];
  while (size >= 999.5 && unit < units.length - 1) [size, unit] = [size / 1000, unit + 1];
  return `${size >= 99.5 || unit === 0 ? Math.round(size) : Number(size.toPrecision(2))} ${units[unit] ?? ''}`;
};

/** Seconds as a clock has them: 0:07, 12:05, 3:04:09. */
export const clock = (seconds: number): string => {
  const whole = Math.max(0, Math.floor(seconds));
  const two = (n: number): string => String(n).padStart(2, '0');
  const minutes = Math.floor(whole / 60);
  return minutes < 60
    ? `${minutes}:${two(whole % 60)}`
    : `${Math.floor(minutes / 60)}:${two(minutes % 60)}:${two(whole % 60)}`;
};

/**
 * Exponential moving average with the start corrected for its bias: of the values seen, each a `1 / decay` times heavier than the one
 * before. What is not finite stays what it is, and counts for nothing.
 */
export const smooth = (values: ReadonlyArray<number | null>, decay: number): ReadonlyArray<number | null> => {
  let mean = 0;
  let weight = 0;
  return values.map((value) => {
    if (value === null || !Number.isFinite(value)) return value;
    mean = decay * mean + (1 - decay) * value;
    weight = decay * weight + (1 - decay);
    return mean / weight;
  });
};

/** Index of the value nearest to `x` in values that do not decrease; -1 where there are none. */
export const nearest = (values: ReadonlyArray<number>, x: number): number => {
  let [low, high] = [0, values.length - 1];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((values[middle] ?? 0) < x) low = middle + 1;
    else high = middle;
  }
  const before = values[low - 1];
  return before !== undefined && x - before <= (values[low] ?? Infinity) - x ? low - 1 : low < values.length ? low : -1;
};

/**
 * Indices of at most about `2 * columns` values that draw as all of them would on so many columns of pixels: the least and the
 * greatest of each column, first and last kept. Values that do not exist (null) are passed over.
 */
export const thinned = (values: ReadonlyArray<number | null>, columns: number): ReadonlyArray<number> => {
  const there = values.flatMap((value, i) => (value === null || !Number.isFinite(value) ? [] : [i]));
  if (there.length <= 2 * columns) return there;
  const kept = new Set<number>([there[0] ?? 0, there[there.length - 1] ?? 0]);
  const size = there.length / columns;
  for (let column = 0; column < columns; column++) {
    const part = there.slice(Math.floor(column * size), Math.floor((column + 1) * size));
    let [least, most] = [part[0] ?? 0, part[0] ?? 0];
    for (const i of part) {
      if ((values[i] ?? 0) < (values[least] ?? 0)) least = i;
      if ((values[i] ?? 0) > (values[most] ?? 0)) most = i;
    }
    kept.add(least).add(most);
  }
  return [...kept].sort((a, b) => a - b);
};
