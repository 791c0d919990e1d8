import type { Markup } from '../report/markup.js';

/** What the page needs beside the reports' own style sheet. */
export const pageStyle: Markup = {
  markup: `
.verdict{margin:18px 0 0;padding:12px 16px;border-radius:10px}
.verdict.good{background:var(--good-bg);color:var(--good)}
.verdict.bad{background:var(--bad-bg);color:var(--bad)}
.tile b{font-size:20px;white-space:normal}
.card.row h3{font-size:12.5px;font-weight:550;margin:0 0 8px;color:var(--soft);overflow-wrap:anywhere}
section>h2+*{margin-top:12px}
.mark{width:1.6em;text-align:center;font-weight:700;color:var(--good)}
tr.note .mark{color:var(--soft)}
tr.fail .mark{color:var(--bad)}
tr.fail td{background:var(--bad-bg)}
.share{width:22%;min-width:90px}
.share span{display:block;height:8px;margin-top:6px;border-radius:4px;background:var(--c0)}
tr.fail .share span{background:var(--bad)}
td details{margin-top:2px}td summary{font-size:12px;padding:2px 0}
td ul{margin:4px 0 0;padding-left:18px;color:var(--soft);font-size:12px;overflow-wrap:anywhere}
td.right{color:var(--good)}td.wrong{color:var(--bad)}
.lengths svg{display:block;width:100%;height:auto}
.lengths text{fill:var(--faint);font-size:11px}
.lengths .grid{stroke:var(--line)}
.lengths .bar{fill:var(--c0)}.lengths .bar.cut{fill:var(--c1)}
.lengths .limit{stroke:var(--c1);stroke-width:1.5;stroke-dasharray:4 3}
.lengths .limit-name{fill:var(--c1)}
section>p .chip{margin:0 4px 6px 0;padding:2px 10px}
tr.match td:first-child{font-weight:650}
.t{border-radius:3px;border-right:1px solid var(--card)}
.t.trained{background:var(--on);box-shadow:inset 0 -2px 0 var(--c0);color:var(--ink)}
.t.weighted{box-shadow:inset 0 -2px 0 var(--c1)}
.t.masked{color:var(--soft)}
.t.pad{color:var(--soft);background:repeating-linear-gradient(45deg,transparent 0 4px,var(--line) 4px 8px);padding:0 6px;font-style:italic}
.border{display:inline-block;width:0;height:1.2em;border-left:3px solid var(--c1);margin:0 5px;vertical-align:text-bottom}
.legend-row{display:flex;flex-wrap:wrap;gap:12px;font-size:12.5px}
@media print{.scroll,.card{break-inside:avoid}}
`,
};
