/* The page's script, in the reader's browser: page.ts puts it into the document, with the functions of numbers.ts before it in place
   of the import. What it is given is data only: every text goes into the page as text, never as markup. */
import { bytes, clock, nearest, short, smooth, thinned, ticks } from './numbers.js';

/**
 * @typedef {import('./record.js').EvaluationEntry} EvaluationEntry
 * @typedef {import('./record.js').RunRecord & Partial<Pick<import('./report.js').Report, 'rows' | 'answers'>> & { live?: boolean }} Run
 */

/**
 * A line of a chart: `smooths` when it may be smoothed, `under` what it was before.
 * @typedef {{ step: ReadonlyArray<number>, epoch: ReadonlyArray<number>, seconds: ReadonlyArray<number> }} Moments
 * @typedef {ReadonlyArray<number | null>} Numbers
 * @typedef {{ name: string, ys: Numbers, moments: Moments, colour: string, smooths?: boolean, dots?: boolean, dash?: string | undefined }} Line
 * @typedef {Line & { xs: ReadonlyArray<number>, under?: Numbers, faint?: boolean }} ShownLine
 * @typedef {{ y: number, label: string }} Reference
 * @typedef {{ moment: EvaluationEntry, y: number, stroke: string }} Mark
 */

/** @type {Run} */
const run = JSON.parse(document.getElementById('run')?.textContent ?? '{}');
/** @type {{ axis: 'step' | 'epoch' | 'seconds', smoothing: number, log: boolean, at: number | null, moment: Record<string, number | undefined>, open: Record<string, boolean> }} */
const view = { axis: 'step', smoothing: 0.6, log: false, at: null, moment: {}, open: {} };

// ---- elements -----------------------------------------------------------------------------------------------------------------

const fill = (element, attributes, children) => {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith('on')) element.addEventListener(name.slice(2), value);
    else if (name === 'css') Object.assign(element.style, value);
    else element.setAttribute(name, value === true ? '' : String(value));
  }
  element.append(...children.flat(3).filter((child) => child !== undefined && child !== null && child !== false));
  return element;
};
const h = (tag, attributes = {}, ...children) => fill(document.createElement(tag), attributes, children);
const s = (tag, attributes = {}, ...children) =>
  fill(document.createElementNS('http://www.w3.org/2000/svg', tag), attributes, children);

const colour = (i) => `var(--c${i % 6})`;
const last = (list) => list[list.length - 1];
const lastNumber = (list) => {
  for (let i = list.length - 1; i >= 0; i--) if (list[i] !== null && list[i] !== undefined) return list[i];
  return null;
};

// ---- where a moment lies on the x axis ----------------------------------------------------------------------------------------

const timeTicks = (low, high, count) => {
  const wanted = (high - low) / count;
  const step =
    [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200].find((s) => s >= wanted) ?? 86400;
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
};
const axes = {
  step: { name: 'step', show: (x) => short(x) },
  epoch: { name: 'epoch', show: (x) => String(Number(x.toFixed(2))) },
  seconds: { name: 'time', show: clock, ticks: timeTicks },
};
const momentText = ({ step, epoch, seconds }) => `step ${step} · epoch ${Number(epoch.toFixed(2))} · ${clock(seconds)}`;

// ---- charts -------------------------------------------------------------------------------------------------------------------

const charts = [];
const margin = { left: 50, right: 12, top: 10, bottom: 24 };

const quantile = (values, q) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))];
};

/* The y range: all of what is drawn boldly, and of faint lines all but the rarest peaks. */
const rangeOf = (series, fromZero, log, refs) => {
  const finite = series.map(({ ys, faint }) => {
    const values = ys.filter((y) => y !== null && Number.isFinite(y) && (!log || y > 0));
    return faint && values.length > 50 ? values.filter((y) => y <= quantile(values, 0.985)) : values;
  });
  const values = finite.flat();
  if (values.length === 0) return undefined;
  let low = values.reduce((a, b) => Math.min(a, b));
  let high = values.reduce((a, b) => Math.max(a, b));
  for (const { y } of refs) if (y <= high * 1.6) high = Math.max(high, y);
  if (fromZero && !log) low = Math.min(0, low);
  if (low === high) {
    const room = Math.abs(low) || 1;
    if (!fromZero) low -= room / 10;
    high += room / 10;
  }
  return [low, high];
};

const logTicks = (low, high) => {
  const found = [];
  for (let power = Math.floor(Math.log10(low)); power <= Math.ceil(Math.log10(high)); power++) {
    for (const factor of [1, 2, 5]) found.push(factor * 10 ** power);
  }
  const inside = found.filter((value) => value >= low * 0.999 && value <= high * 1.001);
  return inside.length > 6 ? inside.filter((value) => /^1/.test(value.toExponential())) : inside;
};

const pathOf = (xs, ys, px, py, columns) =>
  thinned(ys, columns)
    .map((i) => `${px(xs[i]).toFixed(1)} ${py(ys[i]).toFixed(1)}`)
    .join('L');

const mark = (shape, x, y, attributes) =>
  shape === 'ring'
    ? s('circle', { cx: x, cy: y, r: 6, fill: 'none', 'stroke-width': 1.5, ...attributes })
    : s('circle', { cx: x, cy: y, r: 3, ...attributes });

/**
 * A chart of the lines that `series` gives whenever it is drawn; `named` when a single line needs its name too.
 * @param {{ title: string, note?: string, series: () => ReadonlyArray<Line>, size?: string, height?: number, fromZero?: boolean, log?: boolean, show?: (y: number) => string, refs?: () => ReadonlyArray<Reference>, marks?: () => ReadonlyArray<Mark>, epochs?: boolean, named?: boolean }} options
 */
const makeChart = ({
  title,
  note,
  series,
  size = '',
  height = 188,
  fromZero = true,
  log = false,
  show = short,
  refs = () => [],
  marks = () => [],
  epochs = false,
  named = false,
}) => {
  const caption = h('figcaption', {}, h('strong', {}, title), note === undefined ? null : h('span', {}, note));
  const legend = h('div', { class: 'legend' });
  const body = h('div');
  const tip = h('div', { class: 'tip', hidden: true });
  const figure = h('figure', { class: size }, caption, body, tip);
  caption.append(legend);
  let cursor;
  let shown = [];
  let scale;

  const draw = () => {
    const isLog = log && view.log;
    shown = series().filter(({ ys }) => ys.some((y) => y !== null));
    for (const one of shown) {
      one.xs = one.moments[view.axis];
      if (one.smooths && view.smoothing > 0) {
        one.under = one.ys;
        one.ys = smooth(one.ys, view.smoothing);
      }
    }
    figure.hidden = shown.length === 0;
    if (shown.length === 0) return;
    const under = shown.filter((one) => one.under !== undefined).map((one) => ({ ...one, ys: one.under, faint: true }));
    const width = Math.max(240, body.clientWidth || figure.clientWidth - 34);
    const range = rangeOf([...under, ...shown], fromZero, isLog, refs());
    if (range === undefined) return;
    const [low, high] = range;
    const xs = shown.flatMap((one) => [one.xs[0], last(one.xs)]);
    const x0 = Math.min(...xs);
    const x1 = Math.max(...xs);
    const yTicks = isLog ? logTicks(low, high) : ticks(low, high, height > 240 ? 5 : 4);
    const y0 = isLog ? low * 0.95 : Math.min(low, yTicks[0]);
    const y1 = isLog ? high * 1.05 : Math.max(high, last(yTicks));
    const right = width - margin.right;
    const floor = height - margin.bottom;
    const px = (x) =>
      x1 > x0 ? margin.left + ((x - x0) / (x1 - x0)) * (right - margin.left) : (margin.left + right) / 2;
    const share = isLog ? (y) => Math.log(Math.max(y, y0) / y0) / Math.log(y1 / y0) : (y) => (y - y0) / (y1 - y0);
    const py = (y) => Math.max(margin.top - 6, floor - share(y) * (floor - margin.top));
    scale = { px, py, x0, x1, right, floor };
    const svg = s('svg', {
      class: 'plot',
      viewBox: `0 0 ${width} ${height}`,
      height,
      role: 'img',
      tabindex: 0,
      'aria-label': `${title}. ${shown.map(({ name, ys }) => `${name}: from ${show(ys.find((y) => y !== null))} to ${show(lastNumber(ys))}`).join('; ')}`,
    });
    for (const y of yTicks) {
      if (py(y) < margin.top - 7 || py(y) > floor + 1) continue;
      svg.append(
        s('line', { class: 'grid', x1: margin.left, x2: right, y1: py(y), y2: py(y) }),
        s('text', { x: margin.left - 8, y: py(y) + 3.7, 'text-anchor': 'end' }, show(y)),
      );
    }
    const { show: showX, name, ticks: ticksX = ticks } = axes[view.axis];
    for (const x of ticksX(x0, x1, Math.max(3, Math.floor(width / 95)))) {
      if (x < x0 || x > x1) continue;
      svg.append(
        s(
          'text',
          {
            x: px(x),
            y: floor + 17,
            'text-anchor': px(x) < margin.left + 12 ? 'start' : px(x) > right - 12 ? 'end' : 'middle',
          },
          showX(x),
        ),
      );
    }
    svg.append(
      s('line', { class: 'axis', x1: margin.left, x2: right, y1: floor, y2: floor }),
      s('text', { x: margin.left - 8, y: floor + 17, 'text-anchor': 'end' }, name),
    );
    if (epochs && view.axis !== 'seconds') {
      const { epoch } = run.steps;
      const borders = epoch.flatMap((e, i) =>
        i > 0 && Math.floor(e - 1e-9) > Math.floor(epoch[i - 1] - 1e-9) ? [i] : [],
      );
      if (borders.length <= 20)
        for (const i of borders) {
          const x = px(run.steps[view.axis][i]);
          svg.append(s('line', { class: 'epoch', x1: x, x2: x, y1: margin.top, y2: floor }));
        }
    }
    for (const { y, label } of refs()) {
      if (y > y1 || y < y0) continue;
      svg.append(
        s('line', { class: 'ref', x1: margin.left, x2: right, y1: py(y), y2: py(y) }),
        s('text', { x: right - 2, y: py(y) - 5, 'text-anchor': 'end' }, label),
      );
    }
    const clip = `clip${charts.indexOf(chart)}`;
    svg.append(
      s(
        'clipPath',
        { id: clip },
        s('rect', {
          x: margin.left - 4,
          y: margin.top - 6,
          width: right - margin.left + 8,
          height: floor - margin.top + 8,
        }),
      ),
    );
    const plot = s('g', { 'clip-path': `url(#${clip})` });
    for (const one of under)
      plot.append(
        s('path', {
          d: `M${pathOf(one.xs, one.ys, px, py, width)}`,
          stroke: one.colour,
          'stroke-width': 1,
          opacity: 0.28,
        }),
      );
    for (const { xs: own, ys, colour: stroke, dots, dash } of shown) {
      if (ys.length > 1 && thinned(ys, width).length > 1)
        plot.append(
          s('path', {
            d: `M${pathOf(own, ys, px, py, width)}`,
            stroke,
            'stroke-width': dots ? 1.6 : 2,
            'stroke-dasharray': dash,
          }),
        );
      if (dots || ys.length === 1)
        ys.forEach((y, i) => {
          if (y !== null && ys.length <= 80)
            plot.append(mark('dot', px(own[i]), py(y), { fill: stroke, stroke: 'var(--card)', 'stroke-width': 1.5 }));
        });
    }
    for (const { moment, y, stroke } of marks()) plot.append(mark('ring', px(moment[view.axis]), py(y), { stroke }));
    cursor = s('g', { 'pointer-events': 'none' });
    svg.append(plot, cursor);
    svg.addEventListener('pointermove', (event) => {
      const box = svg.getBoundingClientRect();
      point(
        Math.min(
          x1,
          Math.max(
            x0,
            x0 + ((((event.clientX - box.left) * width) / box.width - margin.left) / (right - margin.left)) * (x1 - x0),
          ),
        ),
      );
    });
    svg.addEventListener('pointerleave', () => point(null));
    svg.addEventListener('blur', () => point(null));
    svg.addEventListener('keydown', (event) => {
      const way = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
      if (way === undefined) return;
      event.preventDefault();
      const { xs: own } = shown[0];
      const from = view.at === null ? own.length - 1 : nearest(own, view.at);
      point(own[Math.min(own.length - 1, Math.max(0, from + way * (event.shiftKey ? 10 : 1)))]);
    });
    body.replaceChildren(svg);
    legend.replaceChildren(
      ...(shown.length < 2 && !named
        ? []
        : shown.map(({ name: own, colour: stroke, dots, dash }) =>
            h(
              'span',
              {},
              s(
                'svg',
                { viewBox: '0 0 18 8', 'aria-hidden': true },
                s('line', { x1: 0, x2: 18, y1: 4, y2: 4, stroke, 'stroke-width': 2, 'stroke-dasharray': dash }),
                dots ? s('circle', { cx: 9, cy: 4, r: 3, fill: stroke }) : null,
              ),
              own,
            ),
          )),
    );
  };

  /* Shows the values nearest to x; the tip only on the chart that is pointed at. */
  const showAt = (x, pointed) => {
    if (cursor === undefined || figure.hidden) return;
    cursor.replaceChildren();
    tip.hidden = true;
    if (x === null || x < scale.x0 || x > scale.x1) return;
    const found = shown.flatMap((one) => {
      const i = nearest(one.xs, x);
      return i === -1 || one.ys[i] === null ? [] : [{ ...one, i }];
    });
    if (found.length === 0) return;
    const at = scale.px(found[0].xs[found[0].i]);
    cursor.append(s('line', { class: 'cursor', x1: at, x2: at, y1: margin.top, y2: scale.floor }));
    for (const { xs, ys, i, colour: own } of found)
      cursor.append(
        mark('dot', scale.px(xs[i]), scale.py(ys[i]), {
          r: 3.5,
          fill: own,
          stroke: 'var(--card)',
          'stroke-width': 1.5,
        }),
      );
    if (!pointed) return;
    const { moments, i } = found[0];
    tip.replaceChildren(
      h(
        'div',
        { class: 'at' },
        momentText({ step: moments.step[i], epoch: moments.epoch[i], seconds: moments.seconds[i] }),
      ),
      ...found.map((one) =>
        h(
          'div',
          {},
          h('i', { css: { background: one.colour } }),
          one.name,
          h('b', {}, (one.under ? `${show(one.under[one.i] ?? one.ys[one.i])} → ` : '') + show(one.ys[one.i])),
        ),
      ),
    );
    tip.hidden = false;
    const room = figure.clientWidth;
    const left = at + 16 + 14;
    tip.style.left = `${Math.max(8, left + tip.offsetWidth > room - 4 ? at - tip.offsetWidth + 2 : left)}px`;
    tip.style.top = `${body.offsetTop + 12}px`;
  };
  const chart = { figure, draw, showAt };
  charts.push(chart);
  new ResizeObserver(() => later()).observe(body);
  figure.addEventListener('pointerenter', () => {
    pointed = chart;
  });
  figure.addEventListener('focusin', () => {
    pointed = chart;
  });
  return figure;
};

let pointed;
const point = (x) => {
  view.at = x;
  for (const chart of charts) chart.showAt(x, chart === pointed);
};

// ---- what the charts show -----------------------------------------------------------------------------------------------------

const ofSteps = (name, ys, more = {}) => ({ name, ys, moments: run.steps, colour: colour(0), smooths: true, ...more });
const columnsOf = (entries) => ({
  step: entries.map(({ step }) => step),
  epoch: entries.map(({ epoch }) => epoch),
  seconds: entries.map(({ seconds }) => seconds),
});
const setNames = () => [...new Set(run.evaluations.map(({ name }) => name))];
const ofSet = (name) => run.evaluations.filter((entry) => entry.name === name);
const inSets = (what, value, from = 1) =>
  setNames().map((name, i) => ({
    name: name === '' ? what : `${what} ${name}`,
    ys: ofSet(name).map(value),
    moments: columnsOf(ofSet(name)),
    colour: colour(from + i),
    dots: true,
  }));
const dashes = [undefined, '6 3', '2 3', '8 3 2 3', '1 4', '12 4'];
/* One line a group of the first set, or of every set under its name. */
const groups = (key) => {
  const lines = setNames().flatMap((set) => {
    const entries = ofSet(set);
    const names = [...new Set(entries.flatMap((entry) => Object.keys(entry[key])))];
    return names.map((name) => ({
      name: set === '' ? name : `${set}: ${name}`,
      ys: entries.map((entry) => entry[key][name] ?? null),
      moments: columnsOf(entries),
    }));
  });
  const paths = lines.map(({ name }) => name.split('/'));
  const plain = new Set(paths.map((parts) => last(parts))).size === paths.length;
  return lines.map((line, i) => ({
    ...line,
    name: plain ? last(paths[i]) : line.name,
    colour: colour(i),
    dash: dashes[i % 6],
    dots: true,
  }));
};
const percent = (x) => `${Number((100 * x).toFixed(1))}%`;
const bestMark = () =>
  run.evaluations
    .filter(({ step }) => step === run.best)
    .slice(0, 1)
    .map((entry) => ({ moment: entry, y: entry.loss, stroke: colour(1) }));

const makeCharts = () =>
  h(
    'section',
    { class: 'charts' },
    makeChart({
      title: 'Loss',
      note: 'nats a token',
      size: 'wide',
      height: 320,
      fromZero: false,
      log: true,
      epochs: true,
      marks: bestMark,
      series: () => [ofSteps('training', run.steps.loss), ...inSets('evaluation', (entry) => entry.loss)],
    }),
    makeChart({
      title: 'Learning rate',
      series: () => [ofSteps('rate', run.steps.learningRate, { smooths: false, colour: colour(2) })],
    }),
    makeChart({
      title: 'Gradient norm',
      note: 'before clipping',
      log: true,
      series: () => [ofSteps('norm', run.steps.gradNorm, { colour: colour(3) })],
      refs: () => (run.maxGradNorm ? [{ y: run.maxGradNorm, label: `clipped at ${short(run.maxGradNorm)}` }] : []),
    }),
    makeChart({
      title: 'Tokens a second',
      series: () => [ofSteps('speed', run.steps.tokensPerSecond, { colour: colour(4) })],
    }),
    makeChart({
      title: 'Token accuracy',
      show: percent,
      series: () => [ofSteps('training', run.steps.accuracy), ...inSets('evaluation', (entry) => entry.accuracy)],
    }),
    makeChart({
      title: 'Entropy',
      note: 'nats',
      series: () => [ofSteps('training', run.steps.entropy), ...inSets('evaluation', (entry) => entry.entropy)],
    }),
    makeChart({
      title: 'Memory',
      note: 'of the process',
      show: bytes,
      series: () => [ofSteps('resident', run.steps.memory, { smooths: false, colour: colour(5) })],
    }),
    makeChart({
      title: 'Evaluation loss by role',
      note: 'whose words they are',
      size: 'half',
      height: 220,
      named: true,
      series: () => groups('roles'),
    }),
    makeChart({
      title: 'Evaluation loss by file',
      size: 'half',
      height: 220,
      series: () => (groups('sources').length > 1 ? groups('sources') : []),
    }),
  );

// ---- head: state, progress, numbers -------------------------------------------------------------------------------------------

const states = {
  starting: ['preparing', 'live'],
  training: ['training', 'good live'],
  finished: ['finished', 'good'],
  stopped: ['stopped', ''],
  early: ['stopped early', 'good'],
  left: ['left to be resumed', ''],
  failed: ['failed', 'bad'],
};
const stateChip = () => {
  const [name, kind] = states[run.state];
  return h('span', { class: `state ${run.live ? kind : kind.replace('live', '')}` }, h('i'), name);
};

const progress = () => {
  const { steps } = run;
  const at = last(steps.step) ?? 0;
  const total = run.totalSteps ?? at;
  const share = total > 0 ? Math.min(1, at / total) : 0;
  const elapsed = last(steps.seconds) ?? 0;
  const from = Math.max(0, steps.step.length - 50);
  const pace = steps.step.length > from + 1 ? (elapsed - steps.seconds[from]) / (at - steps.step[from]) : undefined;
  const left = run.state === 'training' && pace !== undefined ? ` · about ${clock(pace * (total - at))} left` : '';
  return [
    h(
      'div',
      { class: 'progress', role: 'progressbar', 'aria-valuenow': at, 'aria-valuemax': total, 'aria-label': 'steps' },
      h('i', { css: { width: `${100 * share}%` } }),
    ),
    h(
      'div',
      { class: 'told' },
      h(
        'span',
        {},
        at === 0
          ? 'no step yet'
          : `step ${at.toLocaleString('en')} of ${total.toLocaleString('en')} · epoch ${Number((last(steps.epoch) ?? 0).toFixed(2))}`,
      ),
      h('span', {}, at === 0 ? '' : `${clock(elapsed)} elapsed${left}`),
    ),
  ];
};

const tile = (name, value, note, kind = '') =>
  value === null || value === undefined
    ? null
    : h('div', { class: 'tile' }, h('h3', {}, name), h('b', {}, value), h('small', { class: kind }, note ?? '\u00a0'));

const change = (from, to, show) =>
  from === null || to === null || from === undefined ? '' : `${show(from)} at the start`;

const tiles = () => {
  const { steps, evaluations } = run;
  const smoothed = smooth(steps.loss, 0.9);
  const first = evaluations[0];
  const latest = evaluations.findLast((entry) => entry.name === first.name);
  const best = evaluations.filter((entry) => entry.name === first.name).toSorted((a, b) => a.loss - b.loss)[0];
  const speed = lastNumber(smooth(steps.tokensPerSecond, 0.9));
  const peak = steps.memory.reduce((a, b) => Math.max(a ?? 0, b ?? 0), null);
  const three = (x) => (x === null ? null : Math.abs(x) < 1e-3 || Math.abs(x) >= 1e4 ? short(x) : x.toPrecision(4));
  const worse = latest !== undefined && best !== undefined && latest.loss > best.loss * 1.002;
  return h(
    'section',
    { class: 'tiles', 'aria-label': 'numbers' },
    tile('Training loss', three(lastNumber(smoothed)), change(steps.loss[0], lastNumber(smoothed), three)),
    latest &&
      tile(
        `Evaluation loss${first.name === '' ? '' : `, ${first.name}`}`,
        three(latest.loss),
        worse
          ? `best ${three(best.loss)} at step ${best.step}`
          : evaluations.length > 1
            ? `the best so far`
            : `at step ${latest.step}`,
        worse ? 'bad' : 'good',
      ),
    latest &&
      tile(
        'Perplexity',
        short(Number(latest.perplexity.toPrecision(4))),
        first === latest ? '' : `${short(Number(first.perplexity.toPrecision(4)))} at first`,
      ),
    tile(
      'Token accuracy',
      latest
        ? percent(latest.accuracy)
        : lastNumber(steps.accuracy) === null
          ? null
          : percent(lastNumber(smooth(steps.accuracy, 0.9))),
      latest ? 'in evaluation' : 'in training',
    ),
    tile(
      'Learning rate',
      lastNumber(steps.learningRate) === null ? null : short(lastNumber(steps.learningRate)),
      `at step ${last(steps.step)}`,
    ),
    tile('Tokens a second', speed === null ? null : short(Math.round(speed)), 'lately'),
    tile(
      'Memory',
      peak === null || peak === 0 ? null : bytes(lastNumber(steps.memory)),
      peak === null ? '' : `at most ${bytes(peak)}`,
    ),
  );
};

// ---- text ---------------------------------------------------------------------------------------------------------------------

const chip = (text, kind = '') => h('span', { class: `chip ${kind}` }, text);
const visible = (text) => text.replace(/\n/g, '↵\n').replace(/\t/g, '⇥');
/* Marks of a chat template are there, but pale. */
const prompt = (text) =>
  h(
    'p',
    { class: 'text' },
    text
      .split(/(<\|?[^<>\s]{1,40}\|?>|\[\/?[A-Z]+\])/)
      .map((part, i) => (i % 2 === 1 ? h('span', { class: 'special' }, part) : part)),
  );

const samplesOf = (name) => run.samples.filter((entry) => entry.name === name);

/* A fold that stays as the reader left it when the page is drawn anew. */
const fold = (key, summary, ...children) =>
  h(
    'details',
    { open: view.open[key] === true, ontoggle: (event) => (view.open[key] = event.target.open) },
    h('summary', {}, summary),
    ...children,
  );

const sampleCard = (sample, now, first, before) => {
  const verdict = sample.exact
    ? ['as expected', 'good']
    : sample.stopped
      ? ['stopped', '']
      : ['ran to the limit', 'bad'];
  const said = (name, text, kind = '', ...chips) =>
    h(
      'div',
      { class: `said ${kind}` },
      h('h4', {}, name, ...chips),
      h('p', { class: 'text' }, text === '' ? '(nothing)' : text),
    );
  return h(
    'article',
    { class: 'card qa' },
    h('div', {}, h('h4', {}, 'prompt'), prompt(sample.prompt)),
    h(
      'div',
      { class: 'pair' },
      said(`step ${now.step}`, sample.text, 'now', chip(...verdict)),
      sample.exact ? null : said('expected', sample.expected),
      now === first || before === undefined ? null : said(`step ${first.step}`, before.text, 'before'),
    ),
  );
};

/* The answers of one evaluation set at a moment that the reader picks; the latest, until one is picked. */
const sampleSet = (name) => {
  const all = samplesOf(name);
  const told = h('span', { class: 'meta' });
  const cards = h('div', { class: 'cards' });
  const show = (at) => {
    const now = all[at];
    const { length } = now.samples;
    const stops = now.samples.filter(({ stopped }) => stopped).length;
    const exact = now.samples.filter((sample) => sample.exact).length;
    told.replaceChildren(
      h('b', {}, `step ${now.step}`),
      chip(`${stops} of ${length} stopped by themselves`, stops === length ? 'good' : 'bad'),
      chip(`${exact} of ${length} as expected`, exact === length ? 'good' : ''),
    );
    cards.replaceChildren(...now.samples.map((sample, i) => sampleCard(sample, now, all[0], all[0].samples[i])));
  };
  const at = Math.min(view.moment[name] ?? all.length - 1, all.length - 1);
  const pick = (event) => {
    const chosen = Number(event.target.value);
    view.moment[name] = chosen === all.length - 1 ? undefined : chosen;
    show(chosen);
  };
  show(at);
  return h(
    'div',
    { class: 'set' },
    h(
      'div',
      { class: 'meta' },
      name === '' ? null : h('b', {}, name),
      all.length < 2
        ? null
        : h('input', {
            type: 'range',
            min: 0,
            max: all.length - 1,
            value: at,
            'aria-label': 'moment of the answers',
            oninput: pick,
          }),
      told,
    ),
    cards,
  );
};

const sampleSection = () =>
  run.samples.length === 0
    ? null
    : h(
        'section',
        { id: 'samples' },
        h('h2', {}, 'What it says'),
        h('p', { class: 'lead' }, 'Greedy answers to held-out prompts, as training goes on.'),
        [...new Set(run.samples.map(({ name }) => name))].map(sampleSet),
      );

/* Losses shade tokens: full at 6 nats, where the model gave the token 1 in 400. */
const shaded = (text, loss) => {
  if (loss === null) return h('span', { class: 'off' }, visible(text));
  const share = Math.min(1, Math.max(0, loss) / 6);
  return h(
    'mark',
    {
      title: `${loss.toFixed(2)} nats`,
      css: { background: `color-mix(in srgb, var(--heat) ${(share * 78).toFixed(0)}%, transparent)` },
    },
    visible(text),
  );
};

const hardSection = () =>
  run.hardest.length === 0
    ? null
    : h(
        'section',
        {},
        h('h2', {}, 'The hardest rows'),
        h(
          'p',
          { class: 'lead' },
          'The evaluation rows of the highest loss at the last evaluation, the worst first. Wrong labels and broken rows come to light here. ',
          h('span', { class: 'scale' }, '0', h('i'), '6 nats a token'),
        ),
        h('div', { class: 'cards' }, run.hardest.slice(0, 6).map(hardCard)),
        run.hardest.length <= 6
          ? null
          : fold(
              'hardest',
              `${run.hardest.length - 6} more`,
              h('div', { class: 'cards' }, run.hardest.slice(6).map(hardCard)),
            ),
      );
const hardCard = ({ name, loss, numTokens, place, tokens }) =>
  h(
    'article',
    { class: 'card' },
    h(
      'div',
      { class: 'meta' },
      h('b', {}, `${loss.toFixed(3)} nats a token`),
      `${numTokens} trained tokens`,
      name === '' ? null : chip(name),
      h('code', {}, place),
    ),
    h(
      'p',
      { class: 'text' },
      tokens.map(([text, own]) => shaded(text, own)),
    ),
  );

const rowSection = () =>
  (run.rows ?? []).length === 0
    ? null
    : h(
        'section',
        {},
        h('h2', {}, 'What the loss sees'),
        h(
          'p',
          { class: 'lead' },
          'Only the ',
          h('span', { class: 'on' }, 'marked tokens'),
          ' have a label; the model reads the others and is never asked for them.',
        ),
        h(
          'div',
          { class: 'cards' },
          (run.rows ?? []).map((tokens) =>
            h(
              'article',
              { class: 'card' },
              h(
                'p',
                { class: 'text' },
                tokens.map(({ text, trained }) => h('span', { class: trained ? 'on' : 'off' }, visible(text))),
              ),
              h(
                'p',
                { class: 'count' },
                `${tokens.filter(({ trained }) => trained).length} of ${tokens.length} tokens trained`,
              ),
            ),
          ),
        ),
      );

const answerTable = (answers) => {
  const cell = (text, expected) => h('td', { class: text === expected ? 'right' : 'wrong' }, h('code', {}, text));
  return h(
    'div',
    { class: 'scroll' },
    h(
      'table',
      {},
      h(
        'thead',
        {},
        h(
          'tr',
          {},
          ['prompt', 'before', 'after', 'expected'].map((name) => h('th', { scope: 'col' }, name)),
        ),
      ),
      h(
        'tbody',
        {},
        answers.map(({ prompt: asked, before, after, expected }) =>
          h(
            'tr',
            {},
            h('td', {}, asked),
            cell(before, expected),
            cell(after, expected),
            h('td', {}, h('code', {}, expected)),
          ),
        ),
      ),
    ),
  );
};
const answerSection = () => {
  const answers = run.answers ?? [];
  if (answers.length === 0) return null;
  const right = (key) => answers.filter((answer) => answer[key] === answer.expected).length;
  return h(
    'section',
    {},
    h('h2', {}, 'Held-out answers'),
    h(
      'p',
      { class: 'lead' },
      `As expected: ${right('before')} of ${answers.length} before, ${right('after')} of ${answers.length} after.`,
    ),
    answerTable(answers.slice(0, 8)),
    answers.length <= 8 ? null : fold('answers', `${answers.length - 8} more`, answerTable(answers.slice(8))),
  );
};

const metricTable = () => {
  const { evaluations } = run;
  if (evaluations.length === 0) return null;
  const own = [...new Set(evaluations.flatMap(({ metrics }) => Object.keys(metrics)))].filter(
    (key) => !/_(loss|perplexity|mean_token_accuracy|entropy)$/.test(key),
  );
  const head = [
    'step',
    ...(setNames().length > 1 ? ['set'] : []),
    'loss',
    'loss a token',
    'perplexity',
    'accuracy',
    'entropy',
    ...own,
  ];
  const rows = evaluations.map((entry) => [
    entry.step,
    ...(setNames().length > 1 ? [entry.name] : []),
    entry.loss.toFixed(4),
    entry.tokenLoss.toFixed(4),
    short(entry.perplexity),
    percent(entry.accuracy),
    entry.entropy.toFixed(3),
    ...own.map((key) => (entry.metrics[key] === undefined ? '' : short(entry.metrics[key]))),
  ]);
  return fold(
    'evaluations',
    `Evaluations as numbers (${evaluations.length})`,
    h(
      'div',
      { class: 'scroll' },
      h(
        'table',
        {},
        h(
          'thead',
          {},
          h(
            'tr',
            {},
            head.map((name) => h('th', { scope: 'col', class: 'num' }, name)),
          ),
        ),
        h(
          'tbody',
          {},
          rows.map((row) =>
            h(
              'tr',
              {},
              row.map((value) => h('td', { class: 'num' }, String(value))),
            ),
          ),
        ),
      ),
    ),
  );
};

const factSection = () => {
  const written = Object.entries(run.options).map(([name, value]) => [
    name,
    typeof value === 'string' ? value : JSON.stringify(value),
  ]);
  const list = (entries) =>
    h(
      'dl',
      { class: 'facts' },
      entries.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))),
    );
  return h(
    'section',
    {},
    h('h2', {}, 'The run'),
    list([
      ...run.facts,
      ...(run.checkpoints.length === 0
        ? []
        : [
            [
              'checkpoints',
              run.checkpoints.length > 6
                ? `${run.checkpoints.length}, the last at ${last(run.checkpoints)}`
                : run.checkpoints.join(', '),
            ],
          ]),
    ]),
    metricTable(),
    written.length === 0 ? null : fold('options', `Options that were set (${written.length})`, list(written)),
  );
};
const warningSection = () =>
  run.warnings.length === 0
    ? null
    : h(
        'section',
        {},
        h('h2', {}, run.warnings.length === 1 ? 'A warning' : `${run.warnings.length} warnings`),
        h(
          'ul',
          { class: 'warnings' },
          [...new Set(run.warnings)].slice(0, 12).map((text) => h('li', {}, text)),
        ),
      );

// ---- the page -----------------------------------------------------------------------------------------------------------------

const segments = (names, current, choose, label) => {
  const box = h('span', { class: 'seg', role: 'group', 'aria-label': label });
  const draw = () =>
    box.replaceChildren(
      ...names.map(([value, name]) =>
        h(
          'button',
          {
            type: 'button',
            'aria-pressed': String(current() === value),
            onclick: () => {
              choose(value);
              draw();
              later();
            },
          },
          name,
        ),
      ),
    );
  draw();
  return box;
};

const stored = (key) => {
  try {
    return window.localStorage.getItem(key);
  } catch {
    return null;
  }
};
const store = (key, value) => {
  try {
    window.localStorage.setItem(key, value);
  } catch {
    /* a page from a file may have no storage */
  }
};
const dark = matchMedia('(prefers-color-scheme: dark)');
const theme = () => document.documentElement.dataset.theme;
const setTheme = (name) => {
  document.documentElement.dataset.theme = name;
};
setTheme(stored('rxtune-theme') ?? (dark.matches ? 'dark' : 'light'));
dark.addEventListener('change', () => {
  if (stored('rxtune-theme') === null) setTheme(dark.matches ? 'dark' : 'light');
});

const smoothingText = h('output', {}, view.smoothing.toFixed(2));
const bar = h(
  'div',
  { class: 'bar' },
  segments(
    [
      ['step', 'Step'],
      ['epoch', 'Epoch'],
      ['seconds', 'Time'],
    ],
    () => view.axis,
    (value) => {
      view.axis = value;
    },
    'horizontal axis',
  ),
  h(
    'label',
    {},
    'Smoothing',
    h('input', {
      type: 'range',
      id: 'smoothing',
      min: 0,
      max: 0.99,
      step: 0.01,
      value: view.smoothing,
      oninput: (event) => {
        view.smoothing = Number(event.target.value);
        smoothingText.textContent = view.smoothing.toFixed(2);
        later();
      },
    }),
    smoothingText,
  ),
  segments(
    [
      [false, 'Linear'],
      [true, 'Log'],
    ],
    () => view.log,
    (value) => {
      view.log = value;
    },
    'vertical axis of loss and gradient norm',
  ),
  h('span', { class: 'grow' }),
  segments(
    [
      ['light', 'Light'],
      ['dark', 'Dark'],
    ],
    theme,
    (value) => {
      setTheme(value);
      store('rxtune-theme', value);
    },
    'colours',
  ),
);

const head = h('div');
const text = h('div');
const renderHead = () =>
  head.replaceChildren(
    h(
      'header',
      { class: 'top' },
      h(
        'div',
        {},
        h('div', { class: 'brand' }, h('b', {}, 'rxtune'), h('span', { id: 'state' }, stateChip())),
        h('h1', {}, run.title),
      ),
    ),
    ...(run.steps.step.length === 0 && !run.live ? [] : progress()),
    tiles(),
  );
const renderFoot = () =>
  foot.replaceChildren(
    run.live
      ? 'Live from this machine. The page asks for nothing from elsewhere.'
      : 'The whole page is here: no script, font or picture from elsewhere.',
  );
const renderText = () =>
  text.replaceChildren(
    ...[warningSection(), sampleSection(), answerSection(), hardSection(), rowSection(), factSection()].filter(
      (section) => section !== null,
    ),
  );
const foot = h('footer');
const grid = makeCharts();
document.getElementById('app')?.replaceChildren(head, bar, grid, text, foot);

let waiting = false;
let textChanged = true;
const later = () => {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    renderHead();
    renderFoot();
    for (const chart of charts) chart.draw();
    if (textChanged) renderText();
    textChanged = false;
    if (view.at !== null) point(view.at);
    document.documentElement.dataset.drawn = String(run.steps.step.length);
  });
};
later();

// ---- news from the run --------------------------------------------------------------------------------------------------------

const apply = (news) => {
  if (news.kind === 'step') for (const [name, value] of Object.entries(news.entry)) run.steps[name].push(value);
  else {
    textChanged = true;
    if (news.kind === 'push') run[news.list].push(news.entry);
    else Object.assign(run, news.fields);
  }
};
if (run.live) {
  const source = new EventSource('events');
  source.addEventListener('record', (event) => {
    Object.assign(run, JSON.parse(event.data));
    textChanged = true;
    later();
  });
  source.addEventListener('news', (event) => {
    for (const news of JSON.parse(event.data)) apply(news);
    later();
  });
  source.addEventListener('end', () => {
    source.close();
    run.live = false;
    later();
  });
}
