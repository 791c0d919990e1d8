import type { Markup } from './markup.js';

/** The page's style sheet: two palettes as variables, picked by the reader's colour scheme. */
export const style: Markup = {
  markup: `
:root{--paper:#fbfaf7;--card:#fff;--ink:#1d1f23;--soft:#62666f;--line:#e4e1da;--accent:#0f6e6a;--warm:#b3541e;--on:#cdeee6;--right:#e2f4e6;--wrong:#f7e6e1}
@media (prefers-color-scheme:dark){:root{--paper:#15171a;--card:#1d2024;--ink:#e9e7e2;--soft:#9a9ea6;--line:#31353b;--accent:#5cc8ba;--warm:#f0a36f;--on:#17473f;--right:#1c3a27;--wrong:#43271f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:960px;margin:0 auto;padding:40px 20px 72px}
h1{font-size:27px;font-weight:650;letter-spacing:-.015em;margin:0 0 18px}
h2{font-size:18px;font-weight:650;margin:44px 0 8px}
p{margin:0 0 12px;color:var(--soft)}
dl{display:flex;flex-wrap:wrap;gap:10px 30px;margin:0 0 26px}
dt{font-size:12px;color:var(--soft)}
dd{margin:0;font-size:17px;font-weight:600;font-variant-numeric:tabular-nums}
.charts{display:grid;grid-template-columns:repeat(2,minmax(0,1fr));gap:14px}
.wide{grid-column:1/-1}
@media (max-width:680px){.charts{grid-template-columns:1fr}}
figure{margin:0;padding:14px 14px 8px;background:var(--card);border:1px solid var(--line);border-radius:10px}
figcaption{font-size:13px;font-weight:600;margin-bottom:4px}
svg{display:block;width:100%;height:auto}
.grid{stroke:var(--line);stroke-width:1}
.tick{fill:var(--soft);font-size:11px;font-variant-numeric:tabular-nums}
path{fill:none;stroke:var(--accent);stroke-width:2;stroke-linejoin:round}
path.faint{stroke-width:1;opacity:.38}
.dot{fill:var(--accent)}.dot.dots{fill:var(--warm)}
.tip{fill:transparent}.tip:hover{fill:var(--ink);fill-opacity:.07}
.legend{display:flex;gap:18px;font-size:12px;margin:2px 0 4px 52px}
.legend i{display:inline-block;width:16px;height:0;border-top:2px solid var(--accent);margin-right:6px;vertical-align:middle}
.legend i.faint{border-top-width:1px;opacity:.5}
.legend i.dots{width:7px;height:7px;border:0;border-radius:50%;background:var(--warm)}
.none{padding:14px;border:1px dashed var(--line);border-radius:10px;margin:0}
article{background:var(--card);border:1px solid var(--line);border-radius:10px;margin:12px 0;padding:12px 14px}
pre,code{font:13px/1.75 ui-monospace,SFMono-Regular,Menlo,Consolas,monospace}
pre{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.on{background:var(--on);border-radius:3px;box-shadow:inset 0 -2px 0 var(--accent);color:var(--ink)}
pre .on{margin-right:1px}
.off{color:var(--soft)}
.count{font-size:12px;margin:8px 0 0}
.scroll{overflow-x:auto;background:var(--card);border:1px solid var(--line);border-radius:10px}
table{border-collapse:collapse;width:100%;font-size:13px}
th{text-align:left;font-size:12px;font-weight:600;color:var(--soft)}
th,td{padding:8px 12px;border-bottom:1px solid var(--line);vertical-align:top}
tr:last-child td{border-bottom:0}
td code{font-size:12px;line-height:1.5;white-space:pre-wrap;overflow-wrap:anywhere}
details{margin-top:12px}summary{cursor:pointer;color:var(--soft);font-size:13px;margin-bottom:10px}
.right{background:var(--right)}.wrong{background:var(--wrong)}
`,
};
