/** The histogram of row lengths as a picture. */
import { html, join, nothing, type Markup } from '../report/markup.js';
import type { Histogram } from './histogram.js';
import { counted } from '../../formats/counted.js';

const [width, height, left, bottom, right] = [880, 220, 44, 24, 12];
const number = (value: number): string => value.toLocaleString('en-US');
const at = (value: number): string => value.toFixed(1);

/** Bars of row counts by length; what lies beyond `maxLength` in another colour, with a line there. */
export const lengthChart = ({ bins }: Histogram, maxLength: number): Markup => {
  const most = Math.max(1, ...bins.map(({ count }) => count));
  const reach = bins.at(-1)?.to ?? 1;
  const floor = height - bottom;
  const x = (length: number): number => left + (length / reach) * (width - left - right);
  const y = (count: number): number => 12 + (1 - count / most) * (floor - 12);
  const bars = bins
    .filter(({ count }) => count > 0)
    .map(({ from, to, count }) => {
      const told = `${from} to ${to - 1} tokens: ${counted(count, 'row')}`;
      const wide = Math.max(1, x(to) - x(from) - 1);
      return html`<rect class="${from >= maxLength ? 'bar cut' : 'bar'}" x="${at(x(from) + 0.5)}" y="${at(y(count))}" width="${at(wide)}" height="${at(floor - y(count))}"><title>${told}</title></rect>`;
    });
  const step = Math.max(1, Math.ceil(bins.length / 8));
  const ticks = bins
    .filter((_, i) => i % step === 0)
    .map(
      ({ from }) =>
        html`<text class="tick" x="${at(x(from))}" y="${floor + 16}" text-anchor="middle">${number(from)}</text>`,
    );
  const limit =
    maxLength > reach
      ? nothing
      : html`<line class="limit" x1="${at(x(maxLength))}" x2="${at(x(maxLength))}" y1="6" y2="${floor}"/><text class="tick limit-name" x="${at(x(maxLength) - 5)}" y="15" text-anchor="end">maxLength ${number(maxLength)}</text>`;
  return html`<figure class="wide lengths"><figcaption>Rows by tokens, before anything is cut</figcaption><svg viewBox="0 0 ${width} ${height}" role="img" aria-label="Histogram of row lengths"><line class="grid" x1="${left}" x2="${width - right}" y1="${floor}" y2="${floor}"/><text class="tick" x="${left - 7}" y="16" text-anchor="end">${number(most)}</text>${join(bars)}${join(ticks)}${limit}</svg></figure>`;
};
