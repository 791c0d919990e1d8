/* The page's style sheet: one set of names for colours, two palettes. Series colours are told apart by colour-blind readers too. */
const dark = `color-scheme:dark;--paper:#111315;--card:#181b1e;--ink:#ebe9e4;--soft:#a3a8b0;--faint:#777d87;--line:#2b2f34;--grid:#24282c;--well:#202428;
--c0:#4fc7b8;--c1:#f59a5b;--c2:#8eaaf8;--c3:#d792cd;--c4:#d8b84a;--c5:#9fb2c2;
--good:#7fd497;--good-bg:#17301f;--bad:#f2988a;--bad-bg:#3a211d;--heat:#f07a45;--on:#164a42;--focus:#4fc7b8`;

export const style = `
:root{color-scheme:light;--paper:#f7f6f3;--card:#fffefc;--ink:#191b1f;--soft:#5c616b;--faint:#8b909a;--line:#e5e2db;--grid:#edeae4;--well:#f0eee9;
--c0:#0a6f6b;--c1:#c2500f;--c2:#3a5fc4;--c3:#8f3f84;--c4:#8a6a00;--c5:#4f6272;
--good:#1d7a3e;--good-bg:#e3f3e7;--bad:#a8362a;--bad-bg:#f8e7e3;--heat:#d1542a;--on:#c9ece4;--focus:#0a6f6b}
:root[data-theme=dark]{${dark}}
@media (prefers-color-scheme:dark){:root:not([data-theme]){${dark}}}
*{box-sizing:border-box}
html{-webkit-text-size-adjust:100%}
body{margin:0;background:var(--paper);color:var(--ink);font:400 14px/1.5 Inter,"Segoe UI",-apple-system,BlinkMacSystemFont,"Helvetica Neue",Helvetica,Arial,sans-serif;font-variant-numeric:tabular-nums;-webkit-font-smoothing:antialiased}
main{max-width:1220px;margin:0 auto;padding:34px 28px 72px}
h1{font-size:30px;line-height:1.15;font-weight:650;letter-spacing:-.022em;margin:0;overflow-wrap:anywhere}
h2{font-size:19px;line-height:1.25;font-weight:650;letter-spacing:-.012em;margin:52px 0 4px}
p.lead{margin:0 0 16px;color:var(--soft);max-width:70ch}
code,pre,.mono{font-family:"JetBrains Mono","SF Mono",SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono","Liberation Mono",monospace;font-size:12.5px}
button,input,select{font:inherit;color:inherit}
:focus-visible{outline:2px solid var(--focus);outline-offset:2px}
header.top{display:flex;gap:18px 28px;align-items:flex-end;justify-content:space-between;flex-wrap:wrap}
.brand{display:flex;align-items:center;gap:9px;font-size:12.5px;color:var(--soft);margin-bottom:9px}
.brand b{color:var(--ink);font-weight:650;letter-spacing:-.01em}
.state{display:inline-flex;align-items:center;gap:6px;padding:2px 9px 2px 8px;border-radius:99px;background:var(--well);color:var(--soft);font-size:12px;font-weight:550}
.state i{width:7px;height:7px;border-radius:50%;background:var(--faint)}
.state.good{color:var(--good);background:var(--good-bg)}.state.good i{background:var(--good)}
.state.bad{color:var(--bad);background:var(--bad-bg)}.state.bad i{background:var(--bad)}
.state.live i{animation:pulse 1.6s ease-in-out infinite}
@keyframes pulse{50%{opacity:.25}}
@media (prefers-reduced-motion:reduce){.state.live i{animation:none}}
.progress{margin:20px 0 0;height:5px;border-radius:3px;background:var(--well);overflow:hidden}
.progress i{display:block;height:100%;border-radius:3px;background:var(--c0);transition:width .3s}
.told{display:flex;flex-wrap:wrap;justify-content:space-between;gap:4px 20px;margin:7px 0 0;color:var(--soft);font-size:13px}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(148px,1fr));margin:22px 0 0;background:var(--card);border:1px solid var(--line);border-radius:12px;overflow:hidden}
.tile{padding:14px 16px 13px;min-width:0;box-shadow:1px 1px 0 var(--line)}
.tile h3{margin:0 0 5px;font-size:12.5px;font-weight:500;color:var(--soft)}
.tile b{display:block;font-size:25px;line-height:1.1;font-weight:600;letter-spacing:-.025em;white-space:nowrap}
.tile small{display:block;margin-top:5px;font-size:12px;color:var(--soft);white-space:nowrap;overflow:hidden;text-overflow:ellipsis}
.tile small.good{color:var(--good)}.tile small.bad{color:var(--bad)}
.bar{position:sticky;top:0;z-index:5;display:flex;flex-wrap:wrap;align-items:center;gap:10px 22px;margin:26px -10px 0;padding:10px;background:color-mix(in srgb,var(--paper) 92%,transparent);backdrop-filter:blur(6px);font-size:13px;color:var(--soft)}
.bar label{display:inline-flex;align-items:center;gap:9px}
.bar output{min-width:2.6em;color:var(--ink)}
.grow{flex:1}
.seg{display:inline-flex;padding:2px;border-radius:8px;background:var(--well)}
.seg button{border:0;background:none;padding:3px 11px;border-radius:6px;color:var(--soft);cursor:pointer;font-size:13px}
.seg button:hover{color:var(--ink)}
.seg button[aria-pressed=true]{background:var(--card);color:var(--ink);font-weight:550;box-shadow:0 0 0 1px var(--line)}
input[type=range]{appearance:none;width:130px;height:18px;background:none;margin:0;cursor:pointer}
input[type=range]::-webkit-slider-runnable-track{height:4px;border-radius:2px;background:var(--line)}
input[type=range]::-moz-range-track{height:4px;border-radius:2px;background:var(--line)}
input[type=range]::-webkit-slider-thumb{appearance:none;width:14px;height:14px;margin-top:-5px;border-radius:50%;background:var(--card);border:2px solid var(--c0)}
input[type=range]::-moz-range-thumb{width:10px;height:10px;border-radius:50%;background:var(--card);border:2px solid var(--c0)}
.charts{display:grid;grid-template-columns:repeat(6,minmax(0,1fr));gap:14px;margin-top:8px}
figure{position:relative;margin:0;grid-column:span 2;padding:14px 16px 10px;background:var(--card);border:1px solid var(--line);border-radius:12px;min-width:0}
figure.wide{grid-column:1/-1}
figure.half{grid-column:span 3}
figure.half:has(+figure.half[hidden]),figure.half[hidden]+figure.half{grid-column:1/-1}
figcaption{display:flex;flex-wrap:wrap;align-items:baseline;gap:2px 16px;margin-bottom:6px;font-size:13.5px;font-weight:600;letter-spacing:-.005em}
figcaption span{font-weight:400;color:var(--soft);font-size:12.5px}
.legend{display:flex;flex-wrap:wrap;gap:2px 14px;margin-left:auto;font-weight:400;font-size:12.5px;color:var(--soft)}
.legend span{display:inline-flex;align-items:center;gap:6px}
.legend svg{width:18px;height:8px;flex:none}
svg.plot{display:block;width:100%;touch-action:pan-y;border-radius:4px}
.plot text{fill:var(--faint);font-size:11px}
.plot .grid{stroke:var(--grid)}
.plot .axis{stroke:var(--line)}
.plot .epoch{stroke:var(--line);stroke-dasharray:1 4}
.plot path{fill:none;stroke-linejoin:round;stroke-linecap:round}
.plot .ref{stroke:var(--faint);stroke-dasharray:4 4}
.plot .cursor{stroke:var(--faint);stroke-width:1}
.tip{position:absolute;z-index:3;pointer-events:none;min-width:132px;padding:7px 10px 8px;border-radius:8px;background:var(--ink);color:var(--paper);font-size:12px;line-height:1.45;box-shadow:0 4px 16px rgb(0 0 0/.16)}
.tip div{display:flex;align-items:center;gap:8px}
.tip div b{margin-left:auto;padding-left:14px;font-weight:600}
.tip .at{opacity:.72;margin-bottom:2px}
.tip i{width:8px;height:8px;border-radius:2px;flex:none}
.none{color:var(--faint);padding:26px 0 30px;text-align:center;font-size:13px}
.cards{display:grid;gap:12px}
.card{background:var(--card);border:1px solid var(--line);border-radius:12px;padding:14px 16px;min-width:0}
.meta{display:flex;flex-wrap:wrap;align-items:center;gap:6px 12px;font-size:12.5px;color:var(--soft);margin-bottom:9px}
.meta b{color:var(--ink);font-size:14px;font-weight:600}
.meta label{display:inline-flex;align-items:center;gap:8px}
.set+.set{margin-top:26px}
.chip{display:inline-block;padding:1px 8px;border-radius:99px;font-size:12px;font-weight:550;background:var(--well);color:var(--soft)}
.chip.good{background:var(--good-bg);color:var(--good)}.chip.bad{background:var(--bad-bg);color:var(--bad)}
.text{margin:0;white-space:pre-wrap;overflow-wrap:anywhere;line-height:1.6}
.text mark{background:none;color:inherit;border-radius:3px;padding:1px 0}
.special{color:var(--faint)}
.qa{display:grid;grid-template-columns:minmax(0,5fr) minmax(0,7fr);gap:16px 26px}
.qa h4,.pair h4{margin:0 0 4px;font-size:12px;font-weight:500;color:var(--soft)}
.said{border-left:2px solid var(--line);padding-left:13px;margin-bottom:10px}
.said.now{border-color:var(--c0)}
.said h4{display:flex;align-items:center;gap:8px}
.scale{display:inline-flex;align-items:center;gap:8px;font-size:12px;color:var(--soft)}
.scale i{width:110px;height:9px;border-radius:3px;background:linear-gradient(90deg,transparent,var(--heat))}
.on{background:var(--on);border-radius:3px;padding:1px 0}
.off{color:var(--soft)}
.count{margin:10px 0 0;color:var(--soft);font-size:12.5px}
.scroll{overflow-x:auto;border:1px solid var(--line);border-radius:12px;background:var(--card)}
table{border-collapse:collapse;width:100%;font-size:13px}
th{padding:10px 14px;text-align:left;font-weight:500;color:var(--soft);border-bottom:1px solid var(--line);white-space:nowrap}
td{padding:9px 14px;border-top:1px solid var(--grid);vertical-align:top;overflow-wrap:anywhere}
tbody tr:first-child td{border-top:0}
td.num,th.num{text-align:right;white-space:nowrap}
td.right code{color:var(--good)}td.wrong code{color:var(--bad)}
details{margin-top:12px}
summary{cursor:pointer;color:var(--soft);font-size:13px;padding:4px 0}
.facts{display:grid;grid-template-columns:repeat(auto-fit,minmax(210px,1fr));gap:0 32px;margin:12px 0 0}
.facts div{display:flex;justify-content:space-between;gap:14px;padding:7px 0;border-bottom:1px solid var(--grid)}
.facts dt{color:var(--soft)}.facts dd{margin:0;text-align:right;overflow-wrap:anywhere}
ul.warnings{margin:10px 0 0;padding:0;list-style:none}
ul.warnings li{padding:9px 14px;margin-bottom:6px;border-radius:8px;background:var(--bad-bg);white-space:pre-wrap;overflow-wrap:anywhere;font-size:13px}
footer{margin-top:56px;padding-top:14px;border-top:1px solid var(--line);font-size:12.5px;color:var(--faint)}
@media (max-width:1000px){figure{grid-column:span 3}}
@media (max-width:680px){main{padding:22px 14px 48px}figure,figure.half{grid-column:1/-1}h1{font-size:25px}.qa{grid-template-columns:1fr}.bar{position:static}.tile b{font-size:22px}.legend{margin-left:0}}
@media print{.bar,.progress{display:none}body{background:#fff}figure,.card{break-inside:avoid}}
`;
