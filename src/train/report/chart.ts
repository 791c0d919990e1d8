/** Line charts as SVG, drawn by hand: no script, no font, no outside file. Colours come from the page's CSS variables. */
import { html, join, nothing, type Markup } from './markup.js';

export interface Point {
  readonly x: number;
  readonly y: number;
}

export interface Series {
  readonly name: string;
  readonly points: ReadonlyArray<Point>;
  /** `faint` is drawn thin and pale, `dots` as separate points. */
  readonly style?: 'line' | 'faint' | 'dots';
}

export interface Chart {
  readonly title: string;
  readonly series: ReadonlyArray<Series>;
  readonly width: number;
  readonly height: number;
  /** Whether the y axis starts at zero. */
  readonly fromZero?: boolean;
}

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
  if (size >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
  if (size >= 1e4) return `${Number((value / 1e3).toPrecision(3))}k`;
  if (size > 0 && size < 1e-3) return value.toExponential(2).replace(/\.?0+e/, 'e');
  return String(Number(value.toPrecision(4)));
};

/** Exponential moving average with the start corrected for its bias; a point that is not finite is passed over. */
export const smooth = (points: ReadonlyArray<Point>, decay: number): ReadonlyArray<Point> => {
  let mean = 0;
  let weight = 0;
  return points
    .filter(({ y }) => Number.isFinite(y))
    .map(({ x, y }) => {
      mean = decay * mean + (1 - decay) * y;
      weight = decay * weight + (1 - decay);
      return { x, y: mean / weight };
    });
};

const margin = { left: 52, right: 14, top: 12, bottom: 26 };

/** The chart; a series without a finite point is left out, and a chart without a series says so. */
export const lineChart = ({ title, series, width, height, fromZero = false }: Chart): Markup => {
  const drawn = series
    .map((one) => ({ ...one, points: one.points.filter(({ x, y }) => Number.isFinite(x) && Number.isFinite(y)) }))
    .filter(({ points }) => points.length > 0);
  const points = drawn.flatMap((one) => one.points);
  if (points.length === 0) return html`<p class="none">${title}: nothing was logged.</p>`;
  const extent = (values: ReadonlyArray<number>): readonly [number, number] => [
    values.reduce((a, b) => Math.min(a, b)),
    values.reduce((a, b) => Math.max(a, b)),
  ];
  const [x0, x1] = extent(points.map(({ x }) => x));
  const [low, high] = extent(points.map(({ y }) => y));
  const bottom = fromZero ? Math.min(0, low) : low;
  const yTicks = ticks(bottom, high > bottom ? high : bottom + (Math.abs(bottom) || 1), 4);
  const y0 = yTicks[0] ?? bottom;
  const y1 = yTicks[yTicks.length - 1] ?? high;
  const right = width - margin.right;
  const floor = height - margin.bottom;
  const px = (x: number): number =>
    x1 > x0 ? margin.left + ((x - x0) / (x1 - x0)) * (right - margin.left) : (margin.left + right) / 2;
  const py = (y: number): number => floor - ((y - y0) / (y1 - y0)) * (floor - margin.top);
  const at = (value: number): string => value.toFixed(1);

  const grid = yTicks.map(
    (y) =>
      html`<line class="grid" x1="${margin.left}" x2="${at(right)}" y1="${at(py(y))}" y2="${at(py(y))}"/><text class="tick" x="${margin.left - 7}" y="${at(py(y) + 3.5)}" text-anchor="end">${short(y)}</text>`,
  );
  const axis = ticks(x0, x1, Math.max(2, Math.floor(width / 110)))
    .filter((x) => x >= x0 && x <= x1)
    .map((x) => html`<text class="tick" x="${at(px(x))}" y="${floor + 17}" text-anchor="middle">${short(x)}</text>`);
  const axisName = html`<text class="tick" x="${margin.left - 7}" y="${floor + 17}" text-anchor="end">step</text>`;
  const lines = drawn.map(({ points: own, style = 'line', name }) =>
    style === 'dots' || own.length === 1
      ? join(
          own.map(
            ({ x, y }) =>
              html`<circle class="dot ${style}" cx="${at(px(x))}" cy="${at(py(y))}" r="3.5"><title>${`${name} at ${short(x)}: ${short(y)}`}</title></circle>`,
          ),
        )
      : html`<path class="${style}" d="M${own.map(({ x, y }) => `${at(px(x))} ${at(py(y))}`).join('L')}"/>`,
  );
  // Invisible columns over the plot: pointing at one tells the numbers there, without a script.
  const told = drawn.find(({ style }) => style !== 'dots');
  const stride = Math.ceil((told?.points.length ?? 0) / 240);
  const shown = told === undefined ? [] : told.points.filter((_, i) => i % stride === 0);
  const column = (right - margin.left) / Math.max(1, shown.length);
  const tips = shown.map(
    ({ x, y }) =>
      html`<rect class="tip" x="${at(px(x) - column / 2)}" y="${margin.top}" width="${at(column)}" height="${at(floor - margin.top)}"><title>${`step ${short(x)}: ${short(y)}`}</title></rect>`,
  );
  const legend =
    drawn.length < 2
      ? nothing
      : html`<p class="legend">${join(drawn.map(({ name, style = 'line' }) => html`<span><i class="${style}"></i>${name}</span>`))}</p>`;
  return html`<figure><figcaption>${title}</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="${title}">${join(grid)}${axisName}${join(axis)}${join(lines)}${join(tips)}</svg>${legend}</figure>`;
};
