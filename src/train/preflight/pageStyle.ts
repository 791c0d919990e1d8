import type { Markup } from '../report/markup.js';

/** What the page needs beside the reports' own style sheet. */
export const pageStyle: Markup = {
  markup: `
.verdict{padding:12px 16px;border-radius:10px;border:1px solid var(--line);background:var(--card);color:var(--ink);border-left:4px solid var(--accent)}
.verdict.bad{border-left-color:var(--warm)}
h3{font-size:13px;font-weight:600;margin:0 0 8px;color:var(--soft);overflow-wrap:anywhere}
dl>div{min-width:84px}
.number{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
.mark{width:1.6em;text-align:center;font-weight:700;color:var(--accent)}
tr.note .mark{color:var(--soft)}
tr.fail .mark{color:var(--warm)}
tr.fail td{background:var(--wrong)}
.share{width:22%;min-width:90px}
.share span{display:block;height:8px;border-radius:4px;background:var(--accent)}
tr.fail .share span{background:var(--warm)}
td details{margin-top:4px}td summary{margin:0;font-size:12px}
td ul{margin:6px 0 0;padding-left:18px;color:var(--soft);font-size:12px;overflow-wrap:anywhere}
.bar{fill:var(--accent)}.bar.cut{fill:var(--warm)}
.limit{stroke:var(--warm);stroke-width:1.5;stroke-dasharray:4 3}
.limit-name{fill:var(--warm)}
.chip{display:inline-block;padding:2px 10px;border:1px solid var(--line);border-radius:999px;background:var(--card);font-size:13px;color:var(--ink);margin:0 4px 6px 0}
tr.match td:first-child{font-weight:650}
.t{border-radius:3px;border-right:1px solid var(--card)}
.t.trained{background:var(--on);box-shadow:inset 0 -2px 0 var(--accent);color:var(--ink)}
.t.weighted{box-shadow:inset 0 -2px 0 var(--warm)}
.t.masked{color:var(--soft)}
.t.pad{color:var(--soft);background:repeating-linear-gradient(45deg,transparent 0 4px,var(--line) 4px 8px);padding:0 6px;font-style:italic}
.border{display:inline-block;width:0;height:1.2em;border-left:3px solid var(--warm);margin:0 5px;vertical-align:text-bottom}
.legend-row{font:13px/1.75 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;display:flex;flex-wrap:wrap;gap:12px}
@media print{.scroll,article{break-inside:avoid}}
`,
};
